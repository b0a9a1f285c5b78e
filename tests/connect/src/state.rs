//! Vaults, tokens and what changes them. No network. Versions move as Connect's do: a change of an item moves
//! its version and its vault's `contentVersion`; a change of a vault's name moves its `attributeVersion`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};

use crate::ids;
use crate::item::Item;
use crate::item::parts::Content;
use crate::spec::{ItemSpec, StateSpec, TokenSpec, VaultSpec};
use crate::token::{self, Access, FakeToken};

#[derive(Clone, Default)]
pub(crate) struct State {
    tokens: BTreeMap<String, Scope>,
    vaults: BTreeMap<String, Vault>,
    /// Every id ever given: what is made again under an old name is a new thing.
    used: BTreeSet<String>,
    made: u64,
}

/// The vaults a token opens, by id: a new name takes nothing from it.
#[derive(Clone)]
pub(crate) enum Scope {
    All(Access),
    Vaults(BTreeMap<String, Access>),
}

impl Scope {
    /// What it may do in a vault; nothing in one that it does not open.
    pub(crate) fn access(&self, vault_id: &str) -> Option<Access> {
        match self {
            Self::All(access) => Some(*access),
            Self::Vaults(vaults) => vaults.get(vault_id).copied(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Vault {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) attribute_version: u64,
    pub(crate) content_version: u64,
    pub(crate) created: DateTime<Utc>,
    pub(crate) updated: DateTime<Utc>,
    pub(crate) items: BTreeMap<String, Item>,
    /// Order of making.
    nth: u64,
}

impl Vault {
    /// The id of an item given by title or id; of several with one title the oldest.
    pub(crate) fn item_id(&self, item: &str) -> Option<&str> {
        if let Some((id, _)) = self.items.get_key_value(item) {
            return Some(id);
        }
        let titled = self.items.values().filter(|i| i.content.title == item);
        titled.min_by_key(|i| i.nth).map(|i| i.id.as_str())
    }

    fn moved(&mut self) {
        self.content_version += 1;
        self.updated = Utc::now();
    }
}

impl State {
    pub(crate) fn new(spec: &StateSpec) -> anyhow::Result<Self> {
        let mut state = Self::default();
        state.apply(spec)?;
        Ok(state)
    }

    /// Makes the state what a specification says. What stays keeps its id; what differs moves its version.
    pub(crate) fn apply(&mut self, spec: &StateSpec) -> anyhow::Result<()> {
        let mut vaults = BTreeSet::new();
        for vault in &spec.vaults {
            let known = self.vaults.values().filter(|v| !vaults.contains(&v.id));
            let known = known
                .filter(|v| vault.id.as_ref().map_or(v.name == vault.name, |id| *id == v.id))
                .min_by_key(|v| v.nth)
                .map(|v| v.id.clone());
            let id = match known {
                Some(id) => self.update_vault(&id, vault)?,
                None => self.add_vault(vault)?,
            };
            vaults.insert(id);
        }
        self.vaults.retain(|id, _| vaults.contains(id));
        self.tokens.clear();
        for token in &spec.tokens {
            self.add_token(token);
        }
        Ok(())
    }

    fn update_vault(&mut self, id: &str, spec: &VaultSpec) -> anyhow::Result<String> {
        if self.vault(id)?.name != spec.name {
            self.rename_vault(id, &spec.name)?;
        }
        let mut kept = BTreeSet::new();
        for item in &spec.items {
            let known = self.vault(id)?.items.values().filter(|i| !kept.contains(&i.id));
            let known = known
                .filter(|i| {
                    item.id.as_ref().map_or(i.content.title == item.title, |id| *id == i.id)
                })
                .min_by_key(|i| i.nth)
                .map(|i| i.id.clone());
            kept.insert(match known {
                Some(known) => {
                    let vault = self.vault_mut(id)?;
                    if vault.items.get_mut(&known).is_some_and(|i| i.become_like(item)) {
                        vault.moved();
                    }
                    known
                }
                None => self.add_item(id, item)?,
            });
        }
        let vault = self.vault_mut(id)?;
        let before = vault.items.len();
        vault.items.retain(|id, _| kept.contains(id));
        if vault.items.len() != before {
            vault.moved();
        }
        Ok(id.to_owned())
    }

    /// What a bearer token opens; `None` when it is not known, revoked or past its `exp`.
    pub(crate) fn scope(&self, bearer: &str, now: DateTime<Utc>) -> Option<&Scope> {
        let expired = token::expiry(bearer).is_some_and(|exp| exp <= now.timestamp());
        self.tokens.get(bearer).filter(|_| !expired)
    }

    /// Adds a token, or gives a known one a new scope.
    pub(crate) fn add_token(&mut self, spec: &TokenSpec) {
        let scope = if spec.vaults.iter().any(|v| v == "*") {
            Scope::All(spec.access)
        } else {
            let id =
                |v: &String| self.vault(v).map_or_else(|_| future_vault_id(v), |v| v.id.clone());
            Scope::Vaults(spec.vaults.iter().map(|v| (id(v), spec.access)).collect())
        };
        self.tokens.insert(spec.token.clone(), scope);
    }

    /// Accepts a token for just what its claims say; the token.
    pub(crate) fn accept(&mut self, token: &FakeToken) -> String {
        let text = token.build();
        let rights = token.rights().map(|(id, access)| (id.to_owned(), access)).collect();
        self.tokens.insert(text.clone(), Scope::Vaults(rights));
        text
    }

    pub(crate) fn revoke_token(&mut self, token: &str) -> bool {
        self.tokens.remove(token).is_some()
    }

    /// The vaults of a scope, in the order of their ids.
    pub(crate) fn vaults<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Vault> {
        self.vaults.values().filter(|v| scope.access(&v.id).is_some())
    }

    /// How many vaults and how many items there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.vaults.len(), self.vaults.values().map(|v| v.items.len()).sum())
    }

    pub(crate) fn vault_by_id(&self, id: &str) -> Option<&Vault> {
        self.vaults.get(id)
    }

    /// Some vault but this one.
    pub(crate) fn other_vault(&self, id: &str) -> Option<&Vault> {
        self.vaults.values().find(|v| v.id != id)
    }

    /// A vault by id or name; of several with one name the oldest.
    pub(crate) fn vault(&self, vault: &str) -> anyhow::Result<&Vault> {
        if let Some(vault) = self.vaults.get(vault) {
            return Ok(vault);
        }
        let named = self.vaults.values().filter(|v| v.name == vault);
        named.min_by_key(|v| v.nth).with_context(|| format!("no vault `{vault}`"))
    }

    fn vault_mut(&mut self, vault: &str) -> anyhow::Result<&mut Vault> {
        let id = self.vault(vault)?.id.clone();
        self.vaults.get_mut(&id).with_context(|| format!("no vault `{vault}`"))
    }

    pub(crate) fn add_vault(&mut self, spec: &VaultSpec) -> anyhow::Result<String> {
        let id = self.new_id(spec.id.as_deref(), &["vault", &spec.name])?;
        self.made += 1;
        let now = Utc::now();
        let vault = Vault {
            id: id.clone(),
            name: spec.name.clone(),
            description: spec.description.clone(),
            attribute_version: 1,
            content_version: 1,
            created: now,
            updated: now,
            items: BTreeMap::new(),
            nth: self.made,
        };
        self.vaults.insert(id.clone(), vault);
        for item in &spec.items {
            self.add_item(&id, item)?;
        }
        Ok(id)
    }

    pub(crate) fn rename_vault(&mut self, vault: &str, name: &str) -> anyhow::Result<()> {
        let vault = self.vault_mut(vault)?;
        name.clone_into(&mut vault.name);
        vault.attribute_version += 1;
        vault.updated = Utc::now();
        Ok(())
    }

    pub(crate) fn remove_vault(&mut self, vault: &str) -> anyhow::Result<()> {
        let id = self.vault(vault)?.id.clone();
        self.vaults.remove(&id);
        Ok(())
    }

    pub(crate) fn add_item(&mut self, vault: &str, spec: &ItemSpec) -> anyhow::Result<String> {
        let vault_id = self.vault(vault)?.id.clone();
        let id = self.new_id(spec.id.as_deref(), &["item", &vault_id, &spec.title])?;
        self.insert_item(&vault_id, &id, Content::of(&id, spec))?;
        Ok(id)
    }

    /// Adds an item that a client wrote; its id.
    pub(crate) fn create_item(&mut self, vault: &str, content: Content) -> anyhow::Result<String> {
        let vault_id = self.vault(vault)?.id.clone();
        let id = self.new_id(None, &["item", &vault_id, &content.title])?;
        self.insert_item(&vault_id, &id, content)?;
        Ok(id)
    }

    fn insert_item(&mut self, vault: &str, id: &str, content: Content) -> anyhow::Result<()> {
        self.made += 1;
        let item = Item::new(id.to_owned(), self.made, content);
        let vault = self.vault_mut(vault)?;
        vault.items.insert(id.to_owned(), item);
        vault.moved();
        Ok(())
    }

    /// Changes an item given by title or id, and moves the versions.
    pub(crate) fn change_item<T>(
        &mut self,
        vault: &str,
        item: &str,
        change: impl FnOnce(&mut Item) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let vault = self.vault_mut(vault)?;
        let found = vault.item_id(item).map(str::to_owned).and_then(|id| vault.items.get_mut(&id));
        let found = found.with_context(|| format!("no item `{item}` in vault `{}`", vault.name))?;
        let out = change(found)?;
        found.moved();
        vault.moved();
        Ok(out)
    }

    pub(crate) fn remove_item(&mut self, vault: &str, item: &str) -> anyhow::Result<()> {
        let vault = self.vault_mut(vault)?;
        let Some(id) = vault.item_id(item).map(str::to_owned) else {
            bail!("no item `{item}` in vault `{}`", vault.name);
        };
        vault.items.remove(&id);
        vault.moved();
        Ok(())
    }

    fn new_id(&mut self, wanted: Option<&str>, parts: &[&str]) -> anyhow::Result<String> {
        let id = match wanted {
            Some(id) if !ids::is_id(id) => {
                bail!("`{id}` is not an id: 26 characters of a-z and 0-9")
            }
            Some(id) if self.vaults.contains_key(id) => bail!("the id `{id}` is there twice"),
            Some(id) if self.vaults.values().any(|v| v.items.contains_key(id)) => {
                bail!("the id `{id}` is there twice")
            }
            Some(id) => id.to_owned(),
            None => {
                let mut id = ids::id(parts);
                let mut again = 2;
                while self.used.contains(&id) {
                    let nth = again.to_string();
                    id = ids::id(&[parts, &[&nth]].concat());
                    again += 1;
                }
                id
            }
        };
        self.used.insert(id.clone());
        Ok(id)
    }
}

/// The id of a vault that a token names before it is there.
fn future_vault_id(vault: &str) -> String {
    if ids::is_id(vault) { vault.to_owned() } else { ids::id(&["vault", vault]) }
}
