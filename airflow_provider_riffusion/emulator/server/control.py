"""The control endpoints under ``/_emulator/``, without a token: faults, accounts, settings, request log."""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import unquote

from airflow_provider_riffusion.emulator.riffusion.endpoints import Request
from airflow_provider_riffusion.emulator.riffusion.models import iso_time
from airflow_provider_riffusion.emulator.riffusion.state import State
from airflow_provider_riffusion.emulator.server.faults import FaultList, fault_from_mapping
from airflow_provider_riffusion.emulator.server.request_log import RequestLog
from airflow_provider_riffusion.emulator.server.response import RefusedError, Reply, error_reply, json_reply

CONTROL_PREFIX = "/_emulator/"


class Control:
    """
    The control endpoints.

    :param state: accounts, songs and settings
    :param faults: the faults in force
    :param log: the request log
    """

    def __init__(self, state: State, faults: FaultList, log: RequestLog) -> None:
        self._state = state
        self._faults = faults
        self._log = log

    def answer(self, request: Request, client: str) -> Reply:
        """
        Carry a control request out; only a client on this machine may send one.

        :param request: the request
        :param client: the client's IP address
        """
        try:
            address = ipaddress.ip_address(client)
            # On a socket for both families, 127.0.0.1 shows as ::ffff:127.0.0.1.
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
            if not (mapped or address).is_loopback:
                raise RefusedError(403, "Control endpoints answer only on loopback")
            return self._route(request)
        except RefusedError as refusal:
            return error_reply(refusal.status, refusal.message)

    def _route(self, request: Request) -> Reply:
        segments = [unquote(part) for part in request.path.removeprefix(CONTROL_PREFIX).strip("/").split("/")]
        match request.method, segments:
            case "GET", ["requests"]:
                return json_reply([_logged_json(asdict(entry)) for entry in self._log.snapshot()])
            case "DELETE", ["requests"]:
                self._log.clear()
                return json_reply({})
            case "GET", ["faults"]:
                return json_reply(self._faults.snapshot())
            case "POST", ["faults"]:
                return self._add_fault(request.body)
            case "DELETE", ["faults"]:
                self._faults.clear()
                return json_reply({})
            case "POST", ["accounts", user_id, "break" | "repair" as action]:
                return self._account(user_id, action)
            case "POST", ["settings"]:
                return self._change_settings(request.body)
            case "POST", ["reset"]:
                self.reset()
                return json_reply({})
            case _:
                raise RefusedError(404, f"No such control endpoint: {request.method} {request.path}")

    def reset(self) -> None:
        """Go back to the start: accounts, songs and settings as given, no jobs, no faults, an empty log."""
        self._state.reset()
        self._faults.clear()
        self._log.clear()

    def _add_fault(self, body: Any) -> Reply:
        if not isinstance(body, dict):
            raise RefusedError(400, "Request body is a JSON object")
        try:
            fault = self._faults.add(fault_from_mapping(body))
        except ValueError as error:
            raise RefusedError(400, str(error)) from None
        return json_reply(asdict(fault), 201)

    def _account(self, user_id: str, action: str) -> Reply:
        try:
            if action == "break":
                account = self._state.break_account(user_id)
            else:
                account = self._state.set_account_error(user_id, None)
        except KeyError:
            raise RefusedError(404, f"Account {user_id} not found") from None
        return json_reply(asdict(account))

    def _change_settings(self, body: Any) -> Reply:
        if not isinstance(body, dict):
            raise RefusedError(400, "Request body is a JSON object")
        try:
            self._state.settings = replace(self._state.settings, **body)
        except (TypeError, ValueError) as error:
            raise RefusedError(400, str(error)) from None
        return json_reply(asdict(self._state.settings))


def _logged_json(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "time": iso_time(entry["time"])}
