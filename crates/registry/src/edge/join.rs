//! Coming in with a join token: one way for nodes, agents, services and people.
//!
//! ```text
//! token + CSR ─► redeem (one command, once) ─► witness "certificate.issue" ─► certificate
//! ```

use reeve_domain::access::{Expect, NodeAddresses, RedeemToken, Redeemed};
use reeve_domain::ids::TokenId;
use reeve_domain::words::Name;
use reeve_domain::{Answer, Command, Refusal, State, digest};
use reeve_proto::error;
use reeve_proto::identity::token;
use tonic::Status;

use crate::edge::admit::Call;
use crate::edge::desk::{Desk, Snapshot};
use crate::edge::status;
use crate::policy::{self, Intent};

/// What somebody without a certificate shows.
pub(super) struct Shown(RedeemToken);

/// Who came in.
pub(super) struct Joined {
    pub redeemed: Redeemed,
    pub state: Snapshot,
}

impl Shown {
    /// Reads a token. `asked` is all that the same try would ask again: another CSR is another try.
    /// A token that cannot be one is as invalid as one that nobody minted.
    pub(super) fn parse(id: &str, secret: &str, asked: &[&[u8]], expect: Expect) -> Result<Shown, Status> {
        let invalid = || error::refusal(&Refusal::TokenInvalid);
        let hashes: Vec<_> = asked.iter().map(|part| digest::of_bytes(&[part])).collect();
        let hashes: Vec<&[u8]> = hashes.iter().map(|hash| hash.as_slice()).collect();
        Ok(Shown(RedeemToken {
            id: TokenId::parse(id).map_err(|_| invalid())?,
            secret_hash: token::secret_hash_of(secret).map_err(|_| invalid())?,
            csr_hash: digest::of_bytes(&hashes),
            node: None,
            expect,
        }))
    }

    /// Whom the token is for, as far as this node knows.
    pub(super) fn is_for<'a>(&self, state: &'a State) -> Option<&'a Name> {
        let token = state.tokens.get(&self.0.id)?;
        (token.secret_hash == self.0.secret_hash).then_some(&token.name)
    }

    /// Says where a new node is.
    pub(super) fn at(mut self, addresses: NodeAddresses) -> Shown {
        self.0.node = Some(addresses);
        self
    }
}

/// Spends the token. The principal exists from now on; its certificate is still to be made.
pub(super) async fn redeem(desk: &Desk, call: &Call, shown: Shown) -> Result<Joined, Status> {
    let permit = policy::for_joiner(&desk.state(), &call.caller);
    let answered = desk
        .propose(call, permit, Intent::new(Command::RedeemToken(shown.0)))
        .await?;
    let Answer::Redeemed(redeemed) = answered.answer else {
        return Err(status::odd_answer("a join token"));
    };
    Ok(Joined {
        redeemed,
        state: answered.state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_cannot_be_one_is_invalid_and_no_more_is_said() {
        let good = token::JoinToken::mint([7; 32]).unwrap();
        let secret = good.secret_text();
        let reason = |id: &str, secret: &str| {
            let refused = Shown::parse(id, secret, &[b"csr"], Expect::Agent).err().unwrap();
            error::info(&refused).reason
        };
        assert_eq!(reason("nope", &secret), error::Reason::TokenInvalid);
        assert_eq!(reason(good.id(), "nope"), error::Reason::TokenInvalid);
        assert!(Shown::parse(good.id(), &secret, &[b"csr"], Expect::Agent).is_ok());
    }

    #[test]
    fn another_request_is_another_try() {
        let good = token::JoinToken::mint([7; 32]).unwrap();
        let hash = |asked: &[&[u8]]| {
            Shown::parse(good.id(), &good.secret_text(), asked, Expect::Agent)
                .ok()
                .unwrap()
                .0
                .csr_hash
        };
        assert_eq!(hash(&[b"a", b"b"]), hash(&[b"a", b"b"]));
        assert_ne!(hash(&[b"a", b"b"]), hash(&[b"ab", b""]));
    }
}
