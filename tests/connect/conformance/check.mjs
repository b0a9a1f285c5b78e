// Drives the official JavaScript client against a development server: check.mjs URL
// CONFORMANCE_MODULES is the folder of package.json and node_modules.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.CONFORMANCE_MODULES, "package.json"));
const { OnePasswordConnect, ItemBuilder } = require("@1password/connect");

const serverURL = process.argv[2];
const [SERVICES, PAYROLL] = ["vaultservicesaaaaaaaaaaaaa", "vaultpayrollaaaaaaaaaaaaaa"];
const [ORDERS, MY_ITEM, TITLE26] = [
  "itemordersdbaaaaaaaaaaaaaa",
  "itemmyitemaaaaaaaaaaaaaaaa",
  "itemtitle26aaaaaaaaaaaaaaa",
];
const TWICE = ["itemtwiceaaaaaaaaaaaaaaaaa", "itemtwicebbbbbbbbbbbbbbbbb"];
const [SCRATCH, PAPERS, ODD] = [
  "vaultscratchaaaaaaaaaaaaaa",
  "itempapersaaaaaaaaaaaaaaaa",
  "itemoddaaaaaaaaaaaaaaaaaaa",
];
const [PEM, BLOB] = ["filepemaaaaaaaaaaaaaaaaaaa", "fileblobaaaaaaaaaaaaaaaaaa"];
const BINARY = Buffer.from([0, 1, 0xff, 0xfe, 13, 10, 0]);
const NOBODY = "x".repeat(26);

const client = (token) => OnePasswordConnect({ serverURL, token });
const [every, some, writer, bad] = ["all-vaults", "services-only", "writes-scratch", "nobody"].map(client);

/** The call must reject with exactly this body: the server's, or the client's own in the same form. */
async function refused(status, message, call) {
  const result = await call().then(
    (value) => ({ value }),
    (error) => ({ error }),
  );
  assert.ok("error" in result, `no error, but ${JSON.stringify(result.value)}`);
  assert.deepEqual(result.error, { status, message });
}

/** The same, for messages of the server whose end is free. */
async function badFilter(call) {
  const error = await call().then(
    (value) => assert.fail(`no error, but ${JSON.stringify(value)}`),
    (reason) => reason,
  );
  assert.equal(error.status, 400);
  assert.match(error.message, /^invalid filter: /);
}

const ids = (rows) => rows.map((row) => row.id).sort();
const denied = (vault) => `Authorization: token does not have access to vault ${vault}`;
const field = (item, label) => item.fields.find((f) => f.label === label);

const draft = () =>
  new ItemBuilder()
    .setCategory("LOGIN")
    .setTitle("from javascript")
    .addTag("made")
    .addUrl({ href: "https://a.example.com", primary: true })
    .addField({ label: "username", purpose: "USERNAME", value: "js" })
    .addField({
      label: "password",
      purpose: "PASSWORD",
      generate: true,
      recipe: { length: 12, characterSets: ["LETTERS"], excludeCharacters: "lIO" },
    })
    .addField({ label: "port", value: "1", sectionName: "more" })
    .build();

async function bytes(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const checks = {
  async "lists vaults"() {
    const names = (await every.listVaults()).map((v) => v.name).sort();
    assert.deepEqual(names, ["payroll", "scratch", "services", "two of a kind", "two of a kind"]);
    assert.deepEqual(ids(await some.listVaults()), [SERVICES]);
  },

  async "a vault by id"() {
    for (const vault of [await every.getVault(SERVICES), await every.getVaultById(SERVICES)]) {
      assert.deepEqual([vault.id, vault.name, vault.description], [SERVICES, "services", "What services use"]);
      assert.deepEqual([vault.type, vault.items], ["USER_CREATED", 9]);
      assert.deepEqual([vault.contentVersion, vault.attributeVersion], [10, 1]);
      assert.ok(vault.createdAt instanceof Date && vault.updatedAt >= vault.createdAt);
    }
  },

  async "a vault by name"() {
    assert.equal((await every.getVault("services")).id, SERVICES);
    assert.equal((await every.getVaultByTitle("Services")).id, SERVICES);
    assert.equal((await every.listVaultsByTitle("two of a kind")).length, 2);
  },

  async "no vault and two vaults of a name"() {
    const many = "Found multiple Vaults with given title. Provide a more specific Vault title";
    await refused(404, "No Vaults found with title", () => every.getVault("nothing"));
    await refused(400, many, () => every.getVault("two of a kind"));
    await refused(404, "No Vaults found with title", () => some.getVault("payroll"));
  },

  async "lists items without fields"() {
    const items = await every.listItems(SERVICES);
    assert.equal(items.length, 9);
    assert.deepEqual(await every.listItems(PAYROLL), []);
    const orders = items.find((i) => i.id === ORDERS);
    assert.deepEqual([orders.title, orders.category, orders.tags], ["orders-db", "DATABASE", ["banking", "prod"]]);
    assert.deepEqual([orders.vault.id, orders.version, orders.fields], [SERVICES, 1, undefined]);
  },

  async "an item by ids"() {
    for (const item of [await every.getItem(SERVICES, ORDERS), await every.getItemById(SERVICES, ORDERS)]) {
      assert.deepEqual([item.id, item.title, item.vault.id, item.version], [ORDERS, "orders-db", SERVICES, 1]);
      assert.deepEqual(item.urls.map((u) => [u.href, u.primary]), [["https://orders.example.com", true]]);
      const [username, password] = [field(item, "username"), field(item, "password")];
      assert.deepEqual([username.value, username.purpose], ["orders", "USERNAME"]);
      assert.deepEqual([password.value, password.purpose], ["s3cret", "PASSWORD"]);
      assert.deepEqual([password.type, password.id], ["CONCEALED", "password"]);
      assert.equal(field(item, "empty").value, undefined);
      const [section] = item.sections;
      const port = field(item, "port");
      assert.deepEqual([section.label, port.section.id, port.value], ["connection", section.id, "5432"]);
    }
  },

  async "a one-time password"() {
    assert.equal(await every.getItemOTP(SERVICES, "orders-db"), "123456");
  },

  async "an item by title"() {
    for (const item of [await every.getItem(SERVICES, "My Item"), await every.getItemByTitle(SERVICES, "My Item")]) {
      assert.deepEqual([item.id, item.fields[0].value], [MY_ITEM, "two words: ü"]);
    }
  },

  async "a title with the form of an id"() {
    const title = "abcdefghijklmnopqrstuvwxyz";
    assert.equal((await every.getItemByTitle(SERVICES, title)).id, TITLE26);
    // This client does not fall back to the title.
    await refused(404, `item ${title} not found`, () => every.getItem(SERVICES, title));
  },

  async "filters"() {
    assert.deepEqual(ids(await every.listItemsByTitle(SERVICES, "My Item")), [MY_ITEM]);
    assert.deepEqual(ids(await every.listItemsByTitle(SERVICES, "twice")), TWICE);
    assert.deepEqual(ids(await every.listItemsByTitleContains(SERVICES, "y I")), [MY_ITEM]);
    assert.deepEqual(await every.listItemsByTitle(SERVICES, "my item"), []);
  },

  async "a broken filter is 400"() {
    await badFilter(() => every.getItem(SERVICES, "A & B"));
    await badFilter(() => every.listItemsByTitle(SERVICES, 'a "quote"'));
    await badFilter(() => every.getVault("tail#"));
  },

  async "no item and two items of a title"() {
    const many = "Found multiple Items with given title. Provide a more specific Item title";
    await refused(404, "No Items found with title", () => every.getItem(SERVICES, "nothing"));
    await refused(400, many, () => every.getItem(SERVICES, "twice"));
  },

  async "a bad token is 401"() {
    for (const call of [
      () => bad.listVaults(),
      () => bad.getVault(SERVICES),
      () => bad.listItems(SERVICES),
      () => bad.getItem(SERVICES, ORDERS),
    ]) {
      await refused(401, "Invalid bearer token", call);
    }
  },

  async "a vault out of scope is 403, and so is none"() {
    await refused(403, denied(PAYROLL), () => some.getVault(PAYROLL));
    await refused(403, denied(PAYROLL), () => some.listItems(PAYROLL));
    await refused(403, denied(PAYROLL), () => some.getItem(PAYROLL, ORDERS));
    await refused(403, denied(NOBODY), () => every.getVault(NOBODY));
  },

  async "an item that is not there is 404"() {
    await refused(404, `item ${NOBODY} not found`, () => every.getItem(SERVICES, NOBODY));
    await refused(404, `item ${ORDERS} not found`, () => every.getItem(PAYROLL, ORDERS));
  },

  async "a malformed id is 400"() {
    await refused(400, "Invalid Vault UUID", () => every.listItems("services"));
    await refused(400, "Invalid Item UUID", () => every.getItemById(SERVICES, "orders-db"));
  },

  async "a category and a type that nobody knows"() {
    const item = await every.getItemById(SERVICES, ODD);
    assert.deepEqual([item.category, item.fields[0].type], ["SOMETHING_NEW", "SOMETHING_NEW"]);
  },

  async "times and the last editor"() {
    const item = await every.getItemById(SERVICES, ORDERS);
    assert.ok(item.createdAt instanceof Date && item.updatedAt >= item.createdAt);
    assert.match(item.lastEditedBy, /^[A-Z0-9]{26}$/);
  },

  async "files of an item"() {
    const files = await every.listFiles("services", "papers");
    assert.deepEqual(files.map((f) => [f.name, f.id, f.size]), [["ca.pem", PEM, 10], ["blob.bin", BLOB, 7]]);
    const file = await every.getFileById(SERVICES, PAPERS, PEM);
    assert.equal(file.content_path, `/v1/vaults/${SERVICES}/items/${PAPERS}/files/${PEM}/content`);
    assert.deepEqual(await every.listFiles(SERVICES, ORDERS), []);
    await refused(404, `file ${NOBODY} not found`, () => every.getFileById(SERVICES, PAPERS, NOBODY));
    await refused(404, `item ${NOBODY} not found`, () => every.listFiles(SERVICES, NOBODY));
    await refused(401, "Invalid bearer token", () => bad.listFiles(SERVICES, PAPERS));
  },

  async "the content of a file"() {
    assert.equal(await every.getFileContent(SERVICES, PAPERS, PEM), "-----BEGIN");
    assert.deepEqual(await bytes(await every.getFileContentStream(SERVICES, PAPERS, BLOB)), BINARY);
    // Its other call makes text of it, which is the client's doing.
    assert.notDeepEqual(Buffer.from(await every.getFileContent(SERVICES, PAPERS, BLOB)), BINARY);
  },

  async "an item is made, changed and deleted"() {
    const made = await writer.createItem(SCRATCH, draft());
    assert.deepEqual([made.title, made.version, made.vault.id, made.tags], ["from javascript", 1, SCRATCH, ["made"]]);
    assert.match(field(made, "password").value, /^[a-km-zA-HJ-NP-Z]{12}$/);
    assert.equal((await writer.getItem(SCRATCH, "from javascript")).id, made.id);

    const password = field(made, "password").value;
    made.title = "changed";
    field(made, "username").value = "other";
    const changed = await writer.updateItem(SCRATCH, made);
    assert.deepEqual([changed.title, field(changed, "username").value], ["changed", "other"]);
    const read = await writer.getItemById(SCRATCH, made.id);
    assert.deepEqual([read.title, read.version, field(read, "password").value], ["changed", 2, password]);
    assert.equal(field(read, "port").section.id, read.sections.find((s) => s.label === "more").id);
    assert.deepEqual(read.urls.map((u) => [u.href, u.primary]), [["https://a.example.com", true]]);

    await writer.deleteItem(SCRATCH, "changed");
    await refused(404, `item ${made.id} not found`, () => writer.getItemById(SCRATCH, made.id));
    await refused(404, `item ${made.id} not found`, () => writer.deleteItemById(SCRATCH, made.id));
  },

  async "what may not be written"() {
    const denied = `Authorization: token does not have permission to perform create on vault ${SCRATCH}`;
    await refused(403, denied, () => every.createItem(SCRATCH, draft()));
    await refused(401, "Invalid bearer token", () => bad.createItem(SCRATCH, draft()));
    const broken = Object.assign(draft(), { category: undefined });
    const invalid = "Validation: (validateVaultItem failed to Validate), category is missing";
    await refused(400, invalid, () => writer.createItem(SCRATCH, broken));
    assert.deepEqual(await writer.listItems(SCRATCH), []);
  },
};

let failed = 0;
for (const [name, run] of Object.entries(checks)) {
  try {
    await run();
  } catch (error) {
    failed += 1;
    console.error(`FAILED ${name}`, error);
  }
}
console.log(`conformance js: ${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
