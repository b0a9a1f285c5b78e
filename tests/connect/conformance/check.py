"""Drives the official Python client against a development server: check.py URL"""

import base64
import re
import sys
import tempfile
import traceback
from pathlib import Path

from onepasswordconnectsdk.client import Client
from onepasswordconnectsdk.errors import FailedToRetrieveItemException, FailedToRetrieveVaultException
from onepasswordconnectsdk.models import Field, FieldSection, GeneratorRecipe, Item, ItemVault, Section

URL = sys.argv[1]
SERVICES, PAYROLL = "vaultservicesaaaaaaaaaaaaa", "vaultpayrollaaaaaaaaaaaaaa"
ORDERS, MY_ITEM, TITLE26 = "itemordersdbaaaaaaaaaaaaaa", "itemmyitemaaaaaaaaaaaaaaaa", "itemtitle26aaaaaaaaaaaaaaa"
SCRATCH, PAPERS, ODD = "vaultscratchaaaaaaaaaaaaaa", "itempapersaaaaaaaaaaaaaaaa", "itemoddaaaaaaaaaaaaaaaaaaa"
PEM, BLOB = "filepemaaaaaaaaaaaaaaaaaaa", "fileblobaaaaaaaaaaaaaaaaaa"
BINARY = b"\x00\x01\xff\xfe\r\n\x00"
NOBODY = "x" * 26

every = Client(URL, "all-vaults")
some = Client(URL, "services-only")
writer = Client(URL, "writes-scratch")
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
    equal(sorted(v.name for v in vaults), ["payroll", "scratch", "services", "two of a kind", "two of a kind"])
    equal(ids(some.get_vaults()), [SERVICES])


@check
def a_vault_by_id():
    vault = every.get_vault(SERVICES)
    equal((vault.id, vault.name, vault.description), (SERVICES, "services", "What services use"))
    equal((vault.type, vault.items), ("USER_CREATED", 9))
    equal((vault.content_version, vault.attribute_version), (10, 1))
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
    equal(len(items), 9)
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


@check
def a_category_and_a_type_that_nobody_knows():
    item = every.get_item(ODD, SERVICES)
    equal((item.category, item.fields[0].type, item.fields[0].purpose), ("SOMETHING_NEW", "SOMETHING_NEW", None))


@check
def times_and_the_last_editor():
    item = every.get_item(ORDERS, SERVICES)
    assert item.created_at.tzinfo is not None and item.updated_at >= item.created_at
    assert re.fullmatch(r"[A-Z0-9]{26}", item.last_edited_by), item.last_edited_by


@check
def files_of_an_item():
    files = {f.name: f for f in every.get_files(PAPERS, SERVICES)}
    equal(sorted(files), ["blob.bin", "ca.pem"])
    equal((files["blob.bin"].id, files["blob.bin"].size), (BLOB, len(BINARY)))
    equal(every.get_file(PEM, PAPERS, SERVICES).content_path, files["ca.pem"].content_path)
    equal(every.get_files(ORDERS, SERVICES), [])
    item_refused(404, f"file {NOBODY} not found", every.get_file, NOBODY, PAPERS, SERVICES)
    item_refused(404, f"item {NOBODY} not found", every.get_files, NOBODY, SERVICES)


@check
def the_content_of_a_file():
    equal(every.get_file_content(BLOB, PAPERS, SERVICES), BINARY)
    # This client puts its URL before the path as it comes.
    path = every.get_file(BLOB, PAPERS, SERVICES).content_path
    equal(every.get_file_content(BLOB, PAPERS, SERVICES, path), BINARY)
    with tempfile.TemporaryDirectory() as folder:
        every.download_file(PEM, PAPERS, SERVICES, folder)
        equal((Path(folder) / "ca.pem").read_text(), "-----BEGIN")
    item_refused(404, f"file {NOBODY} not found", every.get_file_content, NOBODY, PAPERS, SERVICES)


@check
def a_file_in_a_body():
    path = f"/v1/vaults/{SERVICES}/items/{PAPERS}/files/{BLOB}"
    for name in ["inline_files", "inline_content"]:
        body = every.build_request("GET", f"{path}?{name}=true").json()
        equal(base64.b64decode(body["content"]), BINARY)


def draft():
    return Item(
        title="from python",
        category="LOGIN",
        vault=ItemVault(id=SCRATCH),
        tags=["made"],
        sections=[Section(id="more", label="more")],
        fields=[
            Field(purpose="USERNAME", label="username", value="python"),
            Field(purpose="PASSWORD", label="password", generate=True,
                  recipe=GeneratorRecipe(length=12, character_sets=["DIGITS"])),
            Field(label="port", value="1", section=FieldSection(id="more")),
        ],
    )


@check
def an_item_is_made_changed_and_deleted():
    made = writer.create_item(SCRATCH, draft())
    equal((made.title, made.version, made.vault.id, made.tags), ("from python", 1, SCRATCH, ["made"]))
    values = {f.label: f.value for f in made.fields}
    assert re.fullmatch(r"\d{12}", values["password"]), "a generated password"
    equal(writer.get_item("from python", SCRATCH).id, made.id)

    made.title = "changed"
    made.fields[0].value = "other"
    changed = writer.update_item(made.id, SCRATCH, made)
    equal((changed.title, changed.fields[0].value), ("changed", "other"))
    read = writer.get_item(made.id, SCRATCH)
    equal((read.title, read.version, read.fields[1].value), ("changed", 2, values["password"]))
    equal((read.sections[0].label, read.fields[2].section.id), ("more", "more"))

    writer.delete_item(made.id, SCRATCH)
    item_refused(404, f"item {made.id} not found", writer.get_item_by_id, made.id, SCRATCH)
    item_refused(404, f"item {made.id} not found", writer.delete_item, made.id, SCRATCH)


@check
def a_part_of_an_item_is_changed():
    made = writer.create_item(SCRATCH, draft())
    field = next(f for f in made.fields if f.label == "port")
    patched = writer.build_request("PATCH", f"/v1/vaults/{SCRATCH}/items/{made.id}", [
        {"op": "replace", "path": f"/fields/{field.id}/value", "value": "2"},
        {"op": "add", "path": "/fields", "value": {"label": "added", "value": "x"}},
        {"op": "remove", "path": "/tags/0"},
    ])
    equal((patched.status_code, patched.json()["version"]), (200, 2))
    read = writer.get_item(made.id, SCRATCH)
    equal({f.label: f.value for f in read.fields if f.label in ("port", "added")}, {"port": "2", "added": "x"})
    equal(read.tags, None)
    writer.delete_item(made.id, SCRATCH)


@check
def what_may_not_be_written():
    denied = f"Authorization: token does not have permission to perform create on vault {SCRATCH}"
    item_refused(403, denied, every.create_item, SCRATCH, draft())
    item_refused(401, "Invalid bearer token", bad.create_item, SCRATCH, draft())
    broken = draft()
    broken.category = None
    item_refused(400, "Validation: (validateVaultItem failed to Validate), category is missing",
                 writer.create_item, SCRATCH, broken)
    equal(writer.get_items(SCRATCH), [])


@check
def liveness_health_metrics_and_activity():
    equal(every.build_request("GET", "/heartbeat").text, ".")
    health = every.build_request("GET", "/health").json()
    equal({d["service"]: d["status"] for d in health["dependencies"]}["account_data"], "AVAILABLE")
    assert "# TYPE" in every.build_request("GET", "/metrics").text
    every.get_item(ORDERS, SERVICES)
    rows = every.build_request("GET", "/v1/activity?limit=1")
    assert re.fullmatch(r"1-1/\d+", rows.headers["Content-Range"]), rows.headers["Content-Range"]
    row = rows.json()[0]
    equal((row["action"], row["result"], row["resource"]["item"]["id"]), ("READ", "SUCCESS", ORDERS))
    assert row["actor"]["userAgent"].startswith("python-httpx/"), row["actor"]["userAgent"]


@check
def lists_with_and_without_a_slash_and_a_version_in_every_answer():
    items = f"/v1/vaults/{SERVICES}/items"
    for path in ["/v1/vaults", items, f"{items}/{PAPERS}/files", "/v1/nothing"]:
        bare, slash = every.build_request("GET", path), every.build_request("GET", path + "/")
        equal((bare.status_code, bare.content), (slash.status_code, slash.content))
        assert re.fullmatch(r"\d+\.\d+\.\d+", bare.headers["1Password-Connect-Version"])


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
