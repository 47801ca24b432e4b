"""What of an error survives the way from a role's process to its parent."""

import pickle

import pytest

from cdc.errors import REFRESH, CdcError, PermissionDenied, PositionLostError, UnavailableError
from cdc.jetstream.stream import ApiError
from cdc.process.role import from_json, to_json

GAP = PositionLostError("purged", safe="nothing was skipped", fix=REFRESH, heals_by_refresh=True)
OTHER = PositionLostError("no InnoDB", fix="ALTER TABLE t ENGINE = InnoDB;\n" + REFRESH)
AWAY = UnavailableError("NATS does not answer", fix="start it")
LOGIN = PermissionDenied("NATS refuses the login", fix="check it")
LOGIN.is_login = True


@pytest.mark.parametrize("error", [GAP, OTHER, AWAY, LOGIN])
def test_an_error_goes_up_to_the_parent_whole(error: CdcError) -> None:
    """The supervisor decides by its class and its fields, never by its words."""
    told = from_json(to_json(error))

    assert type(told) is type(error)
    assert vars(told) == vars(error)


@pytest.mark.parametrize("error", [GAP, OTHER, AWAY, LOGIN, ApiError("no stream", err_code=10059)])
def test_an_error_is_pickled_with_all_its_fields(error: CdcError) -> None:
    """Those of its class too."""
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert (vars(copy), copy.text()) == (vars(error), error.text())


def test_a_refresh_heals_only_what_says_so() -> None:
    """A fix that has a refresh as its last step asks for something else first."""
    assert GAP.heals_by_refresh
    assert not OTHER.heals_by_refresh
