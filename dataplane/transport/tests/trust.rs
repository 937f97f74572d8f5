//! Who is let in: each refusal is named on the side that refuses and on the side that is refused,
//! and is counted.

mod common;

use std::future::poll_fn;
use std::rc::Rc;

use common::{identity, identity_trusting, leaf, named, now, open, real_core, tls};
use isotherm_host::HostClock;
use isotherm_reactor::Reactor;
use isotherm_seam::{Nanos, Wall};
use isotherm_transport::conformance::message;
use isotherm_transport::quic::{Crypto, NodeKeys, Quic, QuicConfig};
use isotherm_transport::{
    Body, Ca, CallError, Closed, Identities, IdentityError, LeafRequest, Network, PROTOCOLS,
    TlsIdentity,
};
use isotherm_uring::Ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Dials and calls; how the call ends. An end that takes a turn of the peer to be known may come
/// after the handshake of this side.
fn call(
    reactor: &mut Reactor<Ring, HostClock>,
    near: &Rc<Quic>,
    far: &Rc<Quic>,
    name: &str,
) -> Option<CallError> {
    let (near, to) = (Rc::clone(near), named(far, name));
    let far = Rc::clone(far);
    let handle = reactor.handle().clone();
    reactor.run(async move {
        let _server = handle.spawn("server", async move {
            let session = poll_fn(|cx| far.poll_accept(cx)).await;
            while let Ok((ticket, _)) = session.request().await {
                session.answer(ticket, message(2, Body::Empty));
            }
        });
        let session = near.dial(&to);
        let call = session.call(message(1, Body::Empty));
        let end = handle.timeout(Nanos::from_secs(10), call).await.expect("an end in time").err();
        // Until the other side has heard of it too.
        handle.sleep(Nanos::from_millis(50)).await;
        end
    })
}

#[test]
fn a_certificate_of_another_authority_is_refused_by_whoever_sees_it() {
    let (mut reactor, ring) = real_core();
    let (ours, theirs) = (Ca::create("c", now()).unwrap(), Ca::create("c", now()).unwrap());
    let far = open(&reactor, &ring, tls(identity(&ours, "far")));

    // The server's is from an authority that the client does not trust.
    let near = open(&reactor, &ring, tls(identity(&theirs, "near")));
    let end = call(&mut reactor, &near, &far, "far");
    assert_eq!(end, Some(CallError::Closed(Closed::Untrusted)));
    assert_eq!(near.counters().refused_untrusted, 1, "{:?}", near.counters());

    // The client's is from one that the server does not trust.
    let near = open(&reactor, &ring, tls(identity_trusting(&theirs, "near", &ours)));
    let before = far.counters().refused_untrusted;
    let end = call(&mut reactor, &near, &far, "far");
    assert_eq!(end, Some(CallError::Closed(Closed::Untrusted)));
    assert_eq!(far.counters().refused_untrusted, before + 1, "{:?}", far.counters());

    let near = open(&reactor, &ring, tls(identity(&ours, "near")));
    assert_eq!(call(&mut reactor, &near, &far, "far"), None, "the others go on");
}

#[test]
fn another_name_is_refused() {
    let (mut reactor, ring) = real_core();
    let ca = Ca::create("c", now()).unwrap();
    let far = open(&reactor, &ring, tls(identity(&ca, "far")));
    let near = open(&reactor, &ring, tls(identity(&ca, "near")));
    for name in ["far2", "fa", "x.far", "not a name"] {
        let end = call(&mut reactor, &near, &far, name);
        assert_eq!(end, Some(CallError::Closed(Closed::Untrusted)), "{name}");
    }
    assert_eq!(near.counters().refused_untrusted, 3, "the fourth is no name at all");
    assert_eq!(call(&mut reactor, &near, &far, "far"), None);
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let (mut reactor, ring) = real_core();
    let ca = Ca::create("c", now()).unwrap();
    let near = open(&reactor, &ring, tls(identity(&ca, "near")));
    const DAY_NS: i64 = 86_400_000_000_000;
    for (begins, days) in [(-10, 9), (2, 30)] {
        let begin = Wall(now().0 + begins * DAY_NS);
        let request = LeafRequest { name: "far", dns: &[], ips: &[], now: begin, days };
        let leaf = ca.issue(&request).unwrap();
        let (cert, key) = (leaf.cert_pem.as_bytes(), leaf.key_pem.as_bytes());
        let roots = ca.roots_pem();
        let identity = TlsIdentity::from_pem(cert, key, roots.as_bytes()).unwrap();
        let far = open(&reactor, &ring, tls(identity.clone()));
        let end = call(&mut reactor, &near, &far, "far");
        assert_eq!(end, Some(CallError::Closed(Closed::Untrusted)));
        // And as a client's.
        let good = open(&reactor, &ring, tls(self::identity(&ca, "good")));
        let late = open(&reactor, &ring, tls(identity));
        let end = call(&mut reactor, &late, &good, "good");
        assert_eq!(end, Some(CallError::Closed(Closed::Untrusted)));
        assert_eq!(good.counters().refused_untrusted, 1);
    }
}

fn speaking(ca: &Ca, name: &str, protocols: &[&[u8]]) -> TlsIdentity {
    let leaf = leaf(ca, name);
    let chain = vec![CertificateDer::from_pem_slice(leaf.cert_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
    let roots = vec![CertificateDer::from_pem_slice(ca.roots_pem().as_bytes()).unwrap()];
    TlsIdentity::speaking(chain, key, roots, protocols).unwrap()
}

#[test]
fn one_version_back_is_understood_and_strangers_are_not() {
    let (mut reactor, ring) = real_core();
    let ca = Ca::create("c", now()).unwrap();
    let far = open(&reactor, &ring, tls(identity(&ca, "far")));
    let older = open(&reactor, &ring, tls(speaking(&ca, "older", &[PROTOCOLS[1]])));
    assert_eq!(call(&mut reactor, &older, &far, "far"), None);
    let newer = [&b"isotherm/3"[..], PROTOCOLS[0]];
    let newer = open(&reactor, &ring, tls(speaking(&ca, "newer", &newer)));
    assert_eq!(call(&mut reactor, &newer, &far, "far"), None);
    let mut refused = 0;
    for protocols in [&[&b"isotherm/3"[..]][..], &[&b"h3"[..]], &[]] {
        let stranger = open(&reactor, &ring, tls(speaking(&ca, "stranger", protocols)));
        let end = call(&mut reactor, &stranger, &far, "far");
        assert_eq!(end, Some(CallError::Closed(Closed::Protocol)), "{protocols:?}");
        refused += 1;
        assert_eq!(far.counters().refused_protocol, refused, "{:?}", far.counters());
    }
}

#[test]
fn keys_change_without_a_restart_in_any_order() {
    let (mut reactor, ring) = real_core();
    let old = Ca::create("c", now()).unwrap();
    let mut new = old.rotate(now()).unwrap();
    let identities = |name| Identities::new(identity(&old, name));
    let keys = || NodeKeys::draw(&isotherm_host::OsEntropy::new().unwrap());
    let (of_near, of_far) = (identities("near"), identities("far"));
    let config = |of: &std::sync::Arc<Identities>| {
        QuicConfig::new(Crypto::Tls(std::sync::Arc::clone(of)), keys())
    };
    let near = open(&reactor, &ring, config(&of_near));
    let far = open(&reactor, &ring, config(&of_far));
    let mut works = |why| assert_eq!(call(&mut reactor, &near, &far, "far"), None, "{why}");
    works("before");
    // First all get the new roots, with old certificates,
    of_far.replace(identity_trusting(&old, "far", &new));
    works("the far one trusts both");
    of_near.replace(identity_trusting(&old, "near", &new));
    works("both do");
    // then new certificates,
    of_near.replace(identity(&new, "near"));
    works("a new client, an old server");
    of_far.replace(identity(&new, "far"));
    works("both are new");
    // then the old root goes.
    new.forget_older();
    of_near.replace(identity(&new, "near"));
    of_far.replace(identity(&new, "far"));
    works("without the old root");
    of_near.replace(identity_trusting(&old, "near", &new));
    let end = call(&mut reactor, &near, &far, "far");
    assert_eq!(end, Some(CallError::Closed(Closed::Untrusted)), "an old certificate");
}

#[test]
fn old_connections_are_closed_when_they_are_idle() {
    let (mut reactor, ring) = real_core();
    let ca = Ca::create("c", now()).unwrap();
    let near = open(&reactor, &ring, tls(identity(&ca, "near")));
    let far = open(&reactor, &ring, tls(identity(&ca, "far")));
    let handle = reactor.handle().clone();
    reactor.run(async move {
        let session = near.dial(&named(&far, "far"));
        session.ready().await.unwrap();
        let served = poll_fn(|cx| far.poll_accept(cx)).await;
        let call = session.call(message(1, Body::Empty));
        let (ticket, _) = served.request().await.unwrap();
        handle.sleep(Nanos::from_millis(20)).await;
        assert_eq!(near.close_older_than(Nanos::from_secs(60)), 0);
        assert_eq!(near.close_older_than(Nanos::from_millis(10)), 1, "busy: not cut");
        assert_eq!(session.closed(), None);
        served.answer(ticket, message(2, Body::Empty));
        call.await.unwrap();
        assert_eq!(near.close_older_than(Nanos::from_millis(10)), 0);
        assert_eq!(session.closed(), Some(Closed::Here));
        assert_eq!(served.request().await.err(), Some(Closed::ByPeer));
    });
}

#[test]
fn what_is_no_identity_is_named() {
    let ca = Ca::create("c", now()).unwrap();
    let (a, b) = (leaf(&ca, "a"), leaf(&ca, "b"));
    let from = |cert: &str, key: &str, roots: &str| {
        TlsIdentity::from_pem(cert.as_bytes(), key.as_bytes(), roots.as_bytes()).err()
    };
    let roots = ca.roots_pem();
    assert_eq!(from(&a.cert_pem, &a.key_pem, &roots), None);
    assert_eq!(from("", &a.key_pem, &roots), Some(IdentityError::NoCertificate));
    assert_eq!(from(&a.cert_pem, "", &roots), Some(IdentityError::NoKey));
    assert_eq!(from(&a.cert_pem, &b.key_pem, &roots), Some(IdentityError::OtherKey));
    assert_eq!(from(&a.cert_pem, &a.key_pem, ""), Some(IdentityError::NoRoots));
}
