#![allow(clippy::unwrap_used)]

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn names(list: &[&str]) -> BTreeSet<Subtree> {
    list.iter().map(|name| Subtree::of(name)).collect()
}

fn made(list: &[&str]) -> (Made, Authority) {
    let made = Authority::make(&names(list), NOW).unwrap();
    let authority = load(&made, NOW).unwrap();
    (made, authority)
}

fn load(made: &Made, now: Timestamp) -> Result<Authority, BadReason> {
    Authority::load(&SecretBytes::new(made.certificate.clone().into_bytes()), &made.key, now)
}

#[test]
fn a_made_ca_is_constrained_to_its_names_and_says_so_critically() {
    let (made, authority) = made(&["api.test", "myshop.test"]);
    let (_, pem) = x509_parser::pem::parse_x509_pem(made.certificate.as_bytes()).unwrap();
    let x509 = pem.parse_x509().unwrap();
    let found = x509.name_constraints().unwrap().unwrap();
    assert!(found.critical);
    let permitted: Vec<_> =
        found.value.permitted_subtrees.as_ref().unwrap().iter().map(|subtree| subtree.base.clone()).collect();
    assert_eq!(permitted, [GeneralName::DNSName("api.test"), GeneralName::DNSName("myshop.test")]);
    assert!(x509.is_ca());
    assert_eq!(x509.basic_constraints().unwrap().unwrap().value.path_len_constraint, Some(0));
    for host in ["api.test", "m1.myshop.test"] {
        assert!(authority.permits(host), "{host}");
    }
    for host in ["other.test", "xapi.test", "test", "127.0.0.1", "[::1]"] {
        assert!(!authority.permits(host), "{host}");
    }
}

#[test]
fn addresses_are_permitted_one_by_one() {
    let (_, authority) = made(&["api.test", "127.0.0.1", "[::1]"]);
    for host in ["127.0.0.1", "[::1]", "api.test"] {
        assert!(authority.permits(host), "{host}");
    }
    assert!(!authority.permits("127.0.0.2") && !authority.permits("[::2]"));
}

#[test]
fn a_leaf_lives_seven_days_and_never_longer_than_its_ca() {
    let (made, authority) = made(&["api.test"]);
    assert_eq!(authority.leaf("api.test", NOW).unwrap().not_after, NOW.plus_seconds(7 * 86_400));
    let late = authority.validity().not_after.plus_seconds(-60);
    let authority = load(&made, late).unwrap();
    assert_eq!(authority.leaf("api.test", late).unwrap().not_after, authority.validity().not_after);
}

#[test]
fn what_is_no_ca_is_refused_with_its_reason() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["x.test".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let key = SecretBytes::new(key.serialize_pem().into_bytes());
    let reason = Authority::load(&SecretBytes::new(certificate.into_bytes()), &key, NOW).unwrap_err().to_string();
    assert!(reason.contains("not a CA's"), "{reason}");
    let (made, authority) = made(&["api.test"]);
    let end = authority.validity().not_after.plus_seconds(1);
    assert!(load(&made, end).unwrap_err().to_string().contains("expired"));
    let (other, _) = self::made(&["api.test"]);
    let mixed = Made { certificate: made.certificate, key: other.key };
    assert_eq!(load(&mixed, NOW).unwrap_err(), BadReason::PairMismatch);
}
