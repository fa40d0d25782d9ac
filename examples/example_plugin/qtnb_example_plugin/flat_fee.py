"""One price for every execution, however large."""

from dataclasses import dataclass

from qtnb.core.errors import ParameterError
from qtnb.core.protocols import Execution


@dataclass(frozen=True)
class FlatFee:
    "A cost model: an amount per execution."

    amount: float = 1.0  # instrument's currency

    def __post_init__(self):
        "Refuse a negative amount."
        if not self.amount >= 0:
            raise ParameterError(f"`amount` was {self.amount!r}; a fee is 0 or more; pass such a number.")

    def fee(self, trade: Execution) -> float:
        "Fee of one execution."
        return self.amount
