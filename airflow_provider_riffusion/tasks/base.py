"""What operators and sensors share: their hook, and the checks before and after Airflow renders templates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_riffusion.exceptions import RiffusionConfigurationError, RiffusionError
from airflow_provider_riffusion.links.riffusion import other_links
from airflow_provider_riffusion.parameters import Rules, is_line, optional, rule

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

log = logging.getLogger(__name__)

#: Whether a task waits in the triggerer, unless it says otherwise.
DEFERRABLE = conf.getboolean("operators", "default_deferrable", fallback=False)
#: Longest look before a task defers.
LOOK_SECONDS = 10.0
#: The parameters of every operator and sensor.
ACCOUNT_RULES: Rules = {
    "user_id": optional(rule(is_line, "use the user_id of an account configured at useapi.net")),
    "riffusion_conn_id": rule(is_line, "use the id of an Airflow connection"),
}


class RiffusionOperator(BaseOperator):
    """
    What operators and sensors share.

    :param user_id: account; by default the connection's
    :param riffusion_conn_id: Airflow connection of the type ``riffusion``
    """

    #: By templated parameter; ``template_fields`` are its keys.
    parameter_rules: ClassVar[Rules] = ACCOUNT_RULES
    template_fields: Sequence[str] = tuple(parameter_rules)
    ui_color = "#f4e3ff"

    def __init__(
        self, *, user_id: str | None = None, riffusion_conn_id: str = "riffusion_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.user_id, self.riffusion_conn_id = user_id, riffusion_conn_id

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A user's own frames stay; those below them end at the call of this provider's method.
        is_ours = cls.__module__.partition(".")[0] == __name__.partition(".")[0]
        for name in vars(cls).keys() & {"execute", "execute_complete"} if is_ours else ():
            setattr(cls, name, _brief(vars(cls)[name]))

    @cached_property
    def hook(self) -> RiffusionHook:
        """The hook for the connection; imported when it is needed, because a DAG file never needs it."""
        from airflow_provider_riffusion.hooks.riffusion import RiffusionHook

        return RiffusionHook(self.riffusion_conn_id)

    def pre_execute(self, context: Context) -> None:
        """Forget the links of this process, at whose end Airflow would store an empty one over the one it has."""
        self.operator_extra_links = other_links(self)

    def check_parameters(self, *, only_literals: bool = False) -> None:
        """
        Check the parameters of this task, each alone, and put the checked values in their places.

        :param only_literals: skip values that Airflow renders later; the errors name the task
        :raises RiffusionConfigurationError: a value is wrong
        """
        try:
            for name, of in self.parameter_rules.items():
                value = getattr(self, name)
                if not (only_literals and is_template(value)):
                    setattr(self, name, of.check(name, value))
        except RiffusionConfigurationError as error:
            # Airflow shows the error of a DAG file without the file's own lines.
            raise (RiffusionConfigurationError(f"Task {self.task_id!r}: {error}") if only_literals else error) from None


def _brief(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Let errors leave a method without the frames of this provider, which the log gets at DEBUG."""

    @wraps(execute)
    def wrapper(self: RiffusionOperator, *args: Any, **kwargs: Any) -> Any:
        try:
            return execute(self, *args, **kwargs)
        except RiffusionError as error:
            # Airflow's log view opens at its end, where twenty frames push out of sight what the error says to do.
            log.debug("The frames of the error below", exc_info=True)
            raise error.with_traceback(None)  # noqa: B904  # the same error, with the cause that it has

    return wrapper


def is_template(value: object) -> bool:
    """Return whether Airflow renders a value later: Jinja, or an XComArg, DagParam or mapped argument, also inside."""
    if isinstance(value, str):
        return any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        value = list(value.values())
    return any(map(is_template, value)) if isinstance(value, list | tuple) else hasattr(value, "iter_references")
