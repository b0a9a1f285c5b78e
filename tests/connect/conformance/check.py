"""Drives the official Python client against a development server: check.py URL"""

import re
import sys
import traceback

from onepasswordconnectsdk.client import Client
from onepasswordconnectsdk.errors import FailedToRetrieveItemException, FailedToRetrieveVaultException

URL = sys.argv[1]
SERVICES, PAYROLL = "vaultservicesaaaaaaaaaaaaa", "vaultpayrollaaaaaaaaaaaaaa"
ORDERS, MY_ITEM, TITLE26 = "itemordersdbaaaaaaaaaaaaaa", "itemmyitemaaaaaaaaaaaaaaaa", "itemtitle26aaaaaaaaaaaaaaa"
NOBODY = "x" * 26

every = Client(URL, "all-vaults")
some = Client(URL, "services-only")
bad = Client(URL, "nobody")
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def equal(have, want):
    assert have == want, f"have {have!r}, want {want!r}"


def refused(kind, said, call, *args):
    """The call must raise exactly this exception, and its text must say this."""
    try:
        result = call(*args)
    except Exception as error:
        equal(type(error), kind)
        text = re.sub(r"\s+", " ", str(error))
        assert said in text, f"have {text!r}, want {said!r}"
        return error
    raise AssertionError(f"no exception, but {result!r}")


def item_refused(status, message, call, *args):
    error = refused(FailedToRetrieveItemException, f"Received {status} ", call, *args)
    assert f"message: {message}" in re.sub(r"\s+", " ", str(error)), str(error)
    return error


def vault_refused(status, message, call, *args):
    error = refused(FailedToRetrieveVaultException, f"Received {status} ", call, *args)
    assert f"message {message}" in re.sub(r"\s+", " ", str(error)), str(error)


def ids(rows):
    return sorted(row.id for row in rows)


@check
def lists_vaults():
    vaults = every.get_vaults()
    equal(sorted(v.name for v in vaults), ["payroll", "services", "two of a kind", "two of a kind"])
    equal(ids(some.get_vaults()), [SERVICES])


@check
def a_vault_by_id():
    vault = every.get_vault(SERVICES)
    equal((vault.id, vault.name, vault.description), (SERVICES, "services", "What services use"))
    equal((vault.type, vault.items), ("USER_CREATED", 7))
    equal((vault.content_version, vault.attribute_version), (8, 1))
    assert vault.created_at.tzinfo is not None and vault.updated_at >= vault.created_at


@check
def a_vault_by_name():
    equal(every.get_vault_by_title("services").id, SERVICES)
    equal(every.get_vault_by_title("Services").id, SERVICES)


@check
def no_vault_and_two_vaults_of_a_name():
    refused(FailedToRetrieveItemException, "Found 0 vaults", every.get_vault_by_title, "nothing")
    refused(FailedToRetrieveItemException, "Found 2 vaults", every.get_vault_by_title, "two of a kind")
    refused(FailedToRetrieveItemException, "Found 0 vaults", some.get_vault_by_title, "payroll")


@check
def lists_items_without_fields():
    items = every.get_items(SERVICES)
    equal(len(items), 7)
    equal(every.get_items(PAYROLL), [])
    orders = next(i for i in items if i.id == ORDERS)
    equal((orders.title, orders.category, orders.tags), ("orders-db", "DATABASE", ["banking", "prod"]))
    equal((orders.vault.id, orders.version), (SERVICES, 1))
    assert getattr(orders, "fields", None) is None
    # Archived items are listed; the client itself shows no state.
    equal([i.title for i in items if i.id == "itemgoneaaaaaaaaaaaaaaaaaa"], ["gone"])


@check
def an_item_by_ids():
    item = every.get_item(ORDERS, SERVICES)
    equal((item.id, item.title, item.vault.id, item.version), (ORDERS, "orders-db", SERVICES, 1))
    equal([u.href for u in item.urls], ["https://orders.example.com"])
    fields = {f.label: f for f in item.fields}
    equal((fields["username"].value, fields["username"].purpose), ("orders", "USERNAME"))
    equal((fields["password"].value, fields["password"].purpose), ("s3cret", "PASSWORD"))
    equal((fields["password"].type, fields["password"].id), ("CONCEALED", "password"))
    equal((fields["one-time password"].type, fields["one-time password"].totp), ("OTP", "123456"))
    equal(fields["empty"].value, None)
    section = item.sections[0]
    equal((section.label, fields["port"].section.id, fields["port"].value), ("connection", section.id, "5432"))


@check
def an_item_by_titles():
    item = every.get_item("My Item", "services")
    equal((item.id, item.fields[0].value), (MY_ITEM, "two words: ü"))


@check
def a_title_with_the_form_of_an_id():
    item = every.get_item("abcdefghijklmnopqrstuvwxyz", SERVICES)
    equal((item.id, item.fields[0].value), (TITLE26, "by title"))


@check
def filters():
    equal(ids(every.get_items(SERVICES, 'title eq "My Item"')), [MY_ITEM])
    equal(ids(every.get_items(SERVICES, 'title co "Item"')), [MY_ITEM])
    equal(ids(every.get_items(SERVICES, 'tag eq "banking"')), [ORDERS])
    equal(len(every.get_items(SERVICES, 'title eq "twice"')), 2)
    equal(every.get_items(SERVICES, 'title eq "my item"'), [])


@check
def a_broken_filter_is_400():
    for text in ["title", "title eq twice", 'title xx "twice"', 'id eq "twice"', 'title eq "twice', 'name eq "twice"']:
        item_refused(400, "invalid filter", every.get_items, SERVICES, text)
    item_refused(400, "invalid filter", every.get_item, "A & B", SERVICES)


@check
def no_item_and_two_items_of_a_title():
    refused(FailedToRetrieveItemException, "Found 0 items", every.get_item, "nothing", SERVICES)
    refused(FailedToRetrieveItemException, "Found 2 items", every.get_item, "twice", SERVICES)


@check
def a_bad_token_is_401():
    vault_refused(401, "Invalid bearer token", bad.get_vaults)
    vault_refused(401, "Invalid bearer token", bad.get_vault, SERVICES)
    item_refused(401, "Invalid bearer token", bad.get_items, SERVICES)
    equal(item_refused(401, "Invalid bearer token", bad.get_item, ORDERS, SERVICES).status_code, 401)


@check
def a_vault_out_of_scope_is_403_and_so_is_none():
    denied = "Authorization: token does not have access to vault "
    vault_refused(403, denied + PAYROLL, some.get_vault, PAYROLL)
    vault_refused(403, denied + NOBODY, every.get_vault, NOBODY)
    item_refused(403, denied + PAYROLL, some.get_items, PAYROLL)
    equal(item_refused(403, denied + PAYROLL, some.get_item, ORDERS, PAYROLL).status_code, 403)


@check
def an_item_that_is_not_there_is_404():
    error = item_refused(404, f"item {NOBODY} not found", every.get_item_by_id, NOBODY, SERVICES)
    equal(error.status_code, 404)
    item_refused(404, f"item {ORDERS} not found", every.get_item_by_id, ORDERS, PAYROLL)


@check
def a_malformed_id_is_400():
    vault_refused(400, "Invalid Vault UUID", every.get_vault, "services")
    equal(item_refused(400, "Invalid Item UUID", every.get_item_by_id, "orders-db", SERVICES).status_code, 400)


failed = 0
for function in CHECKS:
    try:
        function()
    except Exception:
        failed += 1
        print(f"FAILED {function.__name__}", file=sys.stderr)
        traceback.print_exc()
print(f"conformance python: {len(CHECKS) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
