"""The control endpoints under ``/_emulator/``, without a token: request log, faults, and what the API adds."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import asdict

from airflow_provider_riffusion.emulator.server.faults import FaultList, fault_from_mapping
from airflow_provider_riffusion.emulator.server.fields import json_object
from airflow_provider_riffusion.emulator.server.request import Request
from airflow_provider_riffusion.emulator.server.request_log import RequestLog
from airflow_provider_riffusion.emulator.server.response import RefusedError, Response, iso_time, json_response
from airflow_provider_riffusion.emulator.server.service import Service

CONTROL_PREFIX = "/_emulator/"


class Control:
    """
    The control endpoints.

    :param service: the emulated API
    :param faults: the faults in force
    :param log: the request log
    """

    def __init__(self, service: Service, faults: FaultList, log: RequestLog) -> None:
        self._service = service
        self._faults = faults
        self._log = log

    def answer(self, request: Request) -> Response:
        """Carry a control request out; only a client on this machine may send one."""
        address = ipaddress.ip_address(request.client)
        # On a socket for both families, 127.0.0.1 shows as ::ffff:127.0.0.1.
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        if not (mapped or address).is_loopback:
            raise RefusedError(403, "Control endpoints answer only on loopback")
        segments = request.segments(CONTROL_PREFIX)
        match request.method, segments:
            case "GET", ["requests"]:
                entries = [asdict(entry) for entry in self._log.snapshot()]
                return json_response([{**entry, "time": iso_time(entry["time"])} for entry in entries])
            case "GET", ["faults"]:
                return json_response(self._faults.snapshot())
            case "POST", ["faults"]:
                try:
                    fault = fault_from_mapping(json_object(request.body))
                except ValueError as error:
                    raise RefusedError(400, str(error)) from None
                self._faults.add(fault)
                return json_response(asdict(fault), 201)
            case "DELETE", ["requests"]:
                return _done(self._log.clear)
            case "DELETE", ["faults"]:
                return _done(self._faults.clear)
            case "POST", ["reset"]:
                return _done(self._service.reset, self._faults.clear, self._log.clear)
            case _:
                return self._service.control(request.method, segments, request.body)


def _done(*steps: Callable[[], None]) -> Response:
    for step in steps:
        step()
    return json_response({})
