"""What can go wrong, as one tree.

CoronetError
├── ParamsError          params.yaml does not say what it must
├── InputError           a scan, mask or table that cannot be used
│   ├── UnreadableScan   no volume can be read from the path
│   └── UnsuitableScan   a volume was read, but it must not be scored or learned from
├── GateFailed           the data do not hold what the expectations demand
├── StageError           a stage was run before what it needs, or on results that do not fit
├── LedgerError          MLflow cannot be reached, or does not hold what was asked for
├── SearchError          a study that is of something else, or in which no trial came to an end
├── Busy                 another process holds the same work folder or port
├── Unreachable          a server that a verb needs does not answer
└── PromotionError       there is nothing to promote, or aliases and log contradict each other

Every message says what is wrong, in which case or file, and how to fix it. The command line prints the
message without a traceback and ends with exit code 2; so it does where a file, the memory or the output fails
(`coronet.terminal`). ``CORONET_TRACEBACK=1`` shows the traceback.
"""


class CoronetError(Exception):
    """What a user can correct."""


class ParamsError(CoronetError):
    """``params.yaml`` holds an unknown key, a wrong type or a value out of range."""


class InputError(CoronetError):
    """A scan, mask or table that cannot be used."""


class UnreadableScan(InputError):
    """No volume can be read from the path."""


class UnsuitableScan(InputError):
    """A volume was read, but scoring it or learning from it would mislead."""


class GateFailed(CoronetError):
    """An expectation about the data does not hold."""


class StageError(CoronetError):
    """A stage was run before what it needs, or on results that do not fit its parameters."""


class LedgerError(CoronetError):
    """MLflow cannot be reached, or does not hold what was asked for."""


class PromotionError(CoronetError):
    """There is nothing to promote or to go back to, or aliases and log contradict each other."""


class SearchError(CoronetError):
    """A study that cannot be continued or adopted, or in which no trial came to an end."""


class Busy(CoronetError):
    """Another process holds the same work folder or port."""


class Unreachable(CoronetError):
    """A server that a command needs does not answer."""
