use super::ownership::state_of;
use super::{Receipt, SecretState, SecretWriter, Signer, Written};
use crate::index::{ObjectKey, SecretEntry};
use crate::kube_io::{ApiError, Expected};

/// Whether something was tried before with an end that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was not.
    First,
    /// It was: what it was to do may be done already.
    Again,
}

impl Attempt {
    /// Takes in that it failed once more. What may have been done before is no more certain for that.
    fn weigh(&mut self, error: ApiError) -> ApiError {
        if !error.is_certain() {
            *self = Self::Again;
        }
        match self {
            Self::First => error,
            Self::Again if error.is_certain() => ApiError::TimedOut,
            Self::Again => error,
        }
    }
}

impl SecretWriter {
    /// A request's Secret as it is just now, if it is the operator's own.
    ///
    /// # Errors
    /// When the API server does not tell.
    pub async fn own(
        &self,
        key: &ObjectKey,
        request: &str,
        signer: &Signer,
        receipt: Option<&Receipt>,
    ) -> Result<Option<Expected>, ApiError> {
        let metadata = self.io.secret_metadata(key).await?;
        let entry = metadata.as_ref().and_then(SecretEntry::from_meta);
        let state = state_of(entry.as_ref(), key, request, signer, receipt);
        let is_ours = matches!(state, SecretState::Intact | SecretState::Touched);
        Ok(entry.filter(|_| is_ours).map(|entry| Expected {
            uid: entry.uid.to_string(),
            resource_version: entry.resource_version.to_string(),
        }))
    }

    /// Deletes a Secret that is the operator's own, for as long as it is that one. Says whether the operator deleted it:
    /// what is gone after a call whose answer was lost, that call deleted.
    ///
    /// # Errors
    /// When the API server does not do it. Where it may have done it all the same, the error is not certain.
    pub async fn delete(
        &self,
        key: &ObjectKey,
        mut expected: Expected,
        (request, signer, receipt): (&str, &Signer, Option<&Receipt>),
        mut attempt: Attempt,
    ) -> Result<bool, ApiError> {
        let mut result = Ok(false);
        for _ in 0..3 {
            result = match self.io.delete_secret(key, &expected).await {
                Ok(()) => return Ok(true),
                Err(ApiError::NotFound) => return Ok(attempt == Attempt::Again),
                Err(error) => Err(attempt.weigh(error)),
            };
            // Somebody labelled it meanwhile, or the answer was lost.
            match self.own(key, request, signer, receipt).await {
                Ok(Some(now)) if now.uid == expected.uid => expected = now,
                Ok(_) => return Ok(attempt == Attempt::Again),
                Err(_) => {}
            }
        }
        result
    }

    /// Deletes a Secret that was written just now under a grant that turned out to be withdrawn. One
    /// that is not the one that was written is left alone. Says whether the operator deleted it, as [`Self::delete`] does.
    ///
    /// # Errors
    /// The same.
    pub async fn take_back(
        &self,
        key: &ObjectKey,
        written: &Written,
        mut attempt: Attempt,
    ) -> Result<bool, ApiError> {
        let mut expected = Expected {
            uid: written.receipt.secret_uid.clone(),
            resource_version: written.receipt.resource_version.to_string(),
        };
        let mut result = Ok(false);
        for _ in 0..3 {
            result = match self.io.delete_secret(key, &expected).await {
                Ok(()) => return Ok(true),
                Err(ApiError::NotFound) => return Ok(attempt == Attempt::Again),
                Err(error) => Err(attempt.weigh(error)),
            };
            // Somebody labelled it meanwhile, or the answer was lost.
            let Ok(secret) = self.io.secret_metadata(key).await else { continue };
            match secret.as_ref().and_then(SecretEntry::from_meta) {
                Some(entry) if *entry.uid == *expected.uid => {
                    expected.resource_version = entry.resource_version.to_string();
                }
                Some(_) | None => return Ok(attempt == Attempt::Again),
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_answer_that_was_lost_no_error_says_that_nothing_was_done() {
        let forbidden = ApiError::Forbidden { verb: "delete", kind: "Secret" };
        let mut attempt = Attempt::First;
        assert!(attempt.weigh(forbidden.clone()).is_certain());
        assert_eq!(attempt, Attempt::First);
        for lost in [ApiError::TimedOut, ApiError::Unreachable, ApiError::Refused(504)] {
            let mut attempt = Attempt::First;
            assert_eq!(attempt.weigh(lost.clone()), lost);
            assert_eq!(attempt, Attempt::Again);
            assert!(!attempt.weigh(forbidden.clone()).is_certain());
        }
    }
}
