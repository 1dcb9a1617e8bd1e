"""A site's rules (docs/rules.md): which image goes to which model, which result to which destination."""

from consilium.rules.file import RulesWrong, read_rules
from consilium.rules.table import NO_RULES, ReadRule, Rules, SendRule, read_decision, send_decision

__all__ = [
    "NO_RULES",
    "ReadRule",
    "Rules",
    "RulesWrong",
    "SendRule",
    "read_decision",
    "read_rules",
    "send_decision",
]
