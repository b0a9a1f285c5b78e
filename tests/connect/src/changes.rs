//! What moves while a server runs: its state, what it says of itself, its faults.
//!
//! Vaults and items are named by name, title or id; where several have one name, the oldest is meant.

use crate::faults::{FaultId, FaultSpec};
use crate::health::{ContentVersions, Health};
use crate::item::Item;
use crate::requests::RequestCounts;
use crate::server::ConnectDev;
use crate::spec::{ItemSpec, StateSpec, TokenSpec, VaultSpec};
use crate::token::{Access, FakeToken};

impl ConnectDev {
    /// Makes the state what a specification says: what is not in it goes, what stays keeps its id, and versions
    /// move of what differs.
    pub fn apply(&self, spec: &StateSpec) -> anyhow::Result<()> {
        self.core.state().apply(spec)
    }

    /// The id of a vault.
    #[must_use]
    pub fn vault_id(&self, vault: &str) -> Option<String> {
        self.core.state().vault(vault).ok().map(|v| v.id.clone())
    }

    /// The id of an item.
    #[must_use]
    pub fn item_id(&self, vault: &str, item: &str) -> Option<String> {
        self.core.state().vault(vault).ok().and_then(|v| v.item_id(item).map(str::to_owned))
    }

    /// The version of an item.
    #[must_use]
    pub fn item_version(&self, vault: &str, item: &str) -> Option<u64> {
        let state = self.core.state();
        let vault = state.vault(vault).ok()?;
        vault.items.get(vault.item_id(item)?).map(|i| i.version)
    }

    /// Sets the value of the first field with this label (or id), or adds such a field.
    pub fn set_field(
        &self,
        vault: &str,
        item: &str,
        label: &str,
        value: &str,
    ) -> anyhow::Result<()> {
        let set = |i: &mut Item| {
            i.set_field(label, value);
            Ok(())
        };
        self.core.state().change_item(vault, item, set)
    }

    /// Removes the first field with this label (or id).
    pub fn remove_field(&self, vault: &str, item: &str, label: &str) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| i.remove_field(label))
    }

    /// Gives the first field with this label (or id) another label.
    pub fn rename_field(
        &self,
        vault: &str,
        item: &str,
        label: &str,
        new: &str,
    ) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| i.rename_field(label, new))
    }

    /// Sets what the first file with this name (or id) holds, or adds such a file.
    pub fn set_file(
        &self,
        vault: &str,
        item: &str,
        name: &str,
        content: &[u8],
    ) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| {
            i.set_file(name, content);
            Ok(())
        })
    }

    /// Removes the first file with this name (or id).
    pub fn remove_file(&self, vault: &str, item: &str, name: &str) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| i.remove_file(name))
    }

    /// Adds an item; its id. One made again under an old title has a new id.
    #[expect(clippy::needless_pass_by_value, reason = "a caller has no use for it afterwards")]
    pub fn add_item(&self, vault: &str, spec: ItemSpec) -> anyhow::Result<String> {
        self.core.state().add_item(vault, &spec)
    }

    /// Gives an item another title. Its id stays.
    pub fn rename_item(&self, vault: &str, item: &str, title: &str) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| {
            title.clone_into(&mut i.content.title);
            Ok(())
        })
    }

    /// Replaces an item's tags.
    pub fn set_tags(&self, vault: &str, item: &str, tags: &[&str]) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| {
            i.content.tags = tags.iter().map(|&t| t.to_owned()).collect();
            Ok(())
        })
    }

    /// Archives an item: it stays readable, with `state: ARCHIVED`.
    pub fn archive_item(&self, vault: &str, item: &str) -> anyhow::Result<()> {
        self.set_state(vault, item, Some("ARCHIVED"))
    }

    /// Brings an archived item back.
    pub fn restore_item(&self, vault: &str, item: &str) -> anyhow::Result<()> {
        self.set_state(vault, item, None)
    }

    fn set_state(&self, vault: &str, item: &str, state: Option<&str>) -> anyhow::Result<()> {
        self.core.state().change_item(vault, item, |i| {
            i.content.state = state.map(str::to_owned);
            Ok(())
        })
    }

    /// Deletes an item: it is not found from now on.
    pub fn delete_item(&self, vault: &str, item: &str) -> anyhow::Result<()> {
        self.core.state().remove_item(vault, item)
    }

    /// Adds an empty vault; its id. A token that named it before now opens it.
    pub fn add_vault(&self, name: &str) -> anyhow::Result<String> {
        self.core.state().add_vault(&VaultSpec::new(name))
    }

    /// Gives a vault another name. Its id stays, and tokens open it as before.
    pub fn rename_vault(&self, vault: &str, name: &str) -> anyhow::Result<()> {
        self.core.state().rename_vault(vault, name)
    }

    /// Deletes a vault with all that is in it. It answers 403 from now on.
    pub fn delete_vault(&self, vault: &str) -> anyhow::Result<()> {
        self.core.state().remove_vault(vault)
    }

    /// Accepts a token that reads vaults, given by name or id, or `*`.
    pub fn add_token(&self, token: &str, vaults: &[&str]) {
        self.core.state().add_token(&TokenSpec::new(token, vaults, Access::Read));
    }

    /// Accepts a token that reads and writes vaults, given by name or id, or `*`.
    pub fn add_writing_token(&self, token: &str, vaults: &[&str]) {
        self.core.state().add_token(&TokenSpec::new(token, vaults, Access::ReadWrite));
    }

    /// Accepts a token for just what its claims say; the token.
    pub fn accept(&self, token: &FakeToken) -> String {
        self.core.state().accept(token)
    }

    /// Changes what a token opens, which real Connect cannot: there, a new token is needed.
    pub fn set_token_scope(&self, token: &str, vaults: &[&str]) {
        self.add_token(token, vaults);
    }

    /// Refuses a token from now on; whether it was known.
    pub fn revoke_token(&self, token: &str) -> bool {
        self.core.state().revoke_token(token)
    }

    /// Says this of the server's dependencies from now on. Nothing else changes: a server that says `NOT_SYNCED` goes
    /// on answering, unless a fault stops it.
    pub fn set_health(&self, health: Health) {
        self.core.presence().health = health;
    }

    /// Says this version from now on, in `/health` and in the `1Password-Connect-Version` header.
    pub fn set_version(&self, version: &str) {
        version.clone_into(&mut self.core.presence().version);
    }

    /// Says which bodies of a vault carry `contentVersion` from now on.
    pub fn set_content_versions(&self, versions: ContentVersions) {
        self.core.presence().content_versions = versions;
    }

    /// What was asked until now.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        self.core.requests().counts()
    }

    /// Forgets what was asked.
    pub fn reset_requests(&self) {
        self.core.requests().reset();
    }

    /// Injects a fault, until it is cleared or used up.
    pub fn fault(&self, spec: FaultSpec) -> FaultId {
        self.core.faults().add(spec)
    }

    /// Ends a fault; whether it was still there. A request that hangs goes on hanging.
    pub fn clear_fault(&self, id: FaultId) -> bool {
        self.core.faults().clear(id)
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.core.faults().clear_all();
    }
}
