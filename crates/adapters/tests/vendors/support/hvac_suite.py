"""Lets hvac's own integration suite run against a server that is up already: loaded by pytest before its tests."""

import os

import hvac
from tests.utils import hvac_integration_test_case as suite


class Standing:
    """What the suite expects of the server that it would have started."""

    def __init__(self):
        self.root_token = os.environ["KEYWRIGHT_VAULT_TOKEN"]
        self.keys = None
        self.client = hvac.Client(os.environ["KEYWRIGHT_VAULT_URL"], self.root_token)


def set_up(cls):
    cls.manager = Standing()


suite.HvacIntegrationTestCase.setUpClass = classmethod(set_up)
suite.HvacIntegrationTestCase.tearDownClass = classmethod(lambda cls: None)
