"""What tests give an operator in place of Airflow's own store."""

from __future__ import annotations

import json
from typing import Any


class Store:
    """Airflow 3.3's task state store, as far as it matters."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)
