"""Rules of a shop: what they are, how products stand under them, and the ledger of what they do."""

from completelook.ranking.rules.binding import CategoryRules, bind, require_rules
from completelook.ranking.rules.candidates import Candidates
from completelook.ranking.rules.ledger import Effect, Ledger, Move, ruled
from completelook.ranking.rules.rules import NO_RULES, Action, Rule, Rules

__all__ = [
    "NO_RULES",
    "Action",
    "Candidates",
    "CategoryRules",
    "Effect",
    "Ledger",
    "Move",
    "Rule",
    "Rules",
    "bind",
    "require_rules",
    "ruled",
]
