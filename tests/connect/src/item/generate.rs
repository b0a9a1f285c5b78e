//! A password made for a field that a client writes with `generate`.

use rand::seq::{IndexedRandom as _, SliceRandom as _};
use serde::Deserialize;

use crate::item::write::Invalid;

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const SYMBOLS: &str = "!@#$%^&*()-_=+[]{}<>?.,:;~";

/// What the password is to be made of: the schema `GeneratorRecipe` of Connect's OpenAPI document.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Recipe {
    /// 1 to 64; 32 when absent.
    length: Option<usize>,
    /// All when absent or empty.
    character_sets: Option<Vec<CharacterSet>>,
    exclude_characters: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum CharacterSet {
    Letters,
    Digits,
    Symbols,
}

impl CharacterSet {
    const ALL: [Self; 3] = [Self::Letters, Self::Digits, Self::Symbols];

    fn characters(self) -> &'static str {
        match self {
            Self::Letters => LETTERS,
            Self::Digits => DIGITS,
            Self::Symbols => SYMBOLS,
        }
    }
}

/// A password with a character of each set, as far as its length allows.
pub(crate) fn password(recipe: &Recipe) -> Result<String, Invalid> {
    let length = recipe.length.unwrap_or(32);
    if !(1..=64).contains(&length) {
        return Err(Invalid::new("a recipe's length is 1 to 64"));
    }
    let sets = match recipe.character_sets.as_deref() {
        None | Some([]) => CharacterSet::ALL.to_vec(),
        Some(sets) => sets.to_vec(),
    };
    let excluded = recipe.exclude_characters.as_deref().unwrap_or("");
    let sets: Vec<Vec<char>> = sets
        .iter()
        .map(|set| set.characters().chars().filter(|&c| !excluded.contains(c)).collect())
        .filter(|set: &Vec<char>| !set.is_empty())
        .collect();
    if sets.is_empty() {
        return Err(Invalid::new("a recipe leaves no character to choose from"));
    }
    let mut rng = rand::rng();
    let mut chosen: Vec<char> =
        sets.iter().cycle().take(length).filter_map(|set| set.choose(&mut rng).copied()).collect();
    chosen.shuffle(&mut rng);
    Ok(chosen.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recipe(length: usize, sets: &[CharacterSet], excluded: &str) -> Recipe {
        Recipe {
            length: Some(length),
            character_sets: Some(sets.to_vec()),
            exclude_characters: Some(excluded.to_owned()),
        }
    }

    proptest! {
        #[test]
        fn a_password_is_as_long_and_of_such_characters_as_its_recipe_says(
            length in 1usize..=64,
            sets in proptest::sample::subsequence(CharacterSet::ALL.to_vec(), 1..=3),
            excluded in "[a-z0-9]{0,5}",
        ) {
            let made = password(&recipe(length, &sets, &excluded)).expect("a password");
            prop_assert_eq!(made.chars().count(), length);
            let allowed: String = sets.iter().map(|s| s.characters()).collect();
            prop_assert!(made.chars().all(|c| allowed.contains(c) && !excluded.contains(c)));
            if length >= sets.len() {
                prop_assert!(sets.iter().all(|s| made.chars().any(|c| s.characters().contains(c))));
            }
        }
    }

    #[test]
    fn a_recipe_that_cannot_be_cooked_is_refused() {
        for recipe in
            [recipe(0, &[], ""), recipe(65, &[], ""), recipe(8, &[CharacterSet::Digits], DIGITS)]
        {
            assert!(password(&recipe).is_err(), "{recipe:?}");
        }
        let made = password(&Recipe::default()).expect("a password");
        assert_eq!(made.chars().count(), 32);
    }
}
