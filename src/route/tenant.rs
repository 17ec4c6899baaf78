//! Names of tenants, patterns of them, and the placeholders that carry them where a secret would stand. Pure.

/// The longest name of a tenant in bytes.
const LIMIT: usize = 128;
/// What begins every placeholder.
const MARK: &str = "countersign-";
/// Hexadecimal digits of a placeholder's random part.
const RANDOM_DIGITS: usize = 32;
/// Ends a placeholder. No tenant has this character, so the random part is cut off without a guess.
const END: char = '~';

/// `[A-Za-z0-9._-]{1,128}`, never `..`, no leading dot.
pub fn is_tenant(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LIMIT
        && !name.contains("..")
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Which tenants a client may act for: a name, or a name with one `*` for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantPattern {
    before: String,
    /// What follows the `*`; `None` without one.
    after: Option<String>,
}

impl TenantPattern {
    /// Reads `m1`, `acme-*` or `*`; `None` for anything that no tenant could match.
    pub fn parse(text: &str) -> Option<Self> {
        let (before, after) = match text.split_once('*') {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        let possible = format!("{before}{}{}", if after.is_some() { "x" } else { "" }, after.unwrap_or_default());
        is_tenant(&possible).then(|| Self { before: before.to_owned(), after: after.map(str::to_owned) })
    }

    /// Whether a tenant is one of these.
    pub fn matches(&self, tenant: &str) -> bool {
        match &self.after {
            None => tenant == self.before,
            Some(after) => tenant.strip_prefix(&*self.before).is_some_and(|rest| rest.ends_with(&**after)),
        }
    }
}

/// What a worker wrote where a secret belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken<'t> {
    /// `countersign-TENANT` or a placeholder: meant as a tenant, whether or not it can be one.
    Marked(&'t str),
    /// Anything else: a tenant's bare name, or something that only looks like one.
    Bare(&'t str),
}

/// Reads the text of a slot. A placeholder without a tenant gives an empty name.
pub fn spoken(text: &str) -> Spoken<'_> {
    let Some(marked) = text.strip_prefix(MARK) else { return Spoken::Bare(text) };
    let Some(placeholder) = marked.strip_suffix(END) else { return Spoken::Marked(marked) };
    let (tenant, random) = placeholder.rsplit_once('-').unwrap_or(("", placeholder));
    // A damaged placeholder is no tenant's name: `~` stands in none.
    Spoken::Marked(if random.len() == RANDOM_DIGITS { tenant } else { marked })
}

/// `countersign-TENANT-<32 hexadecimal digits>~`, without `TENANT-` where there is none.
pub fn placeholder(tenant: Option<&str>, random: [u8; RANDOM_DIGITS / 2]) -> String {
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    match tenant {
        Some(tenant) => format!("{MARK}{tenant}-{digits}{END}"),
        None => format!("{MARK}{digits}{END}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_gives_back_its_tenant_whatever_its_name() {
        let like_a_placeholder = "acme-0123456789abcdef0123456789abcdef";
        for tenant in ["m1", "acme-eu", "a-b-c", "x.y_z", "-", like_a_placeholder, &"t".repeat(128)] {
            assert!(is_tenant(tenant));
            let made = placeholder(Some(tenant), [0xa5; 16]);
            assert!(made.starts_with(&format!("countersign-{tenant}-")));
            assert_eq!(spoken(&made), Spoken::Marked(tenant));
            assert_eq!(spoken(&format!("countersign-{tenant}")), Spoken::Marked(tenant));
            assert_eq!(spoken(tenant), Spoken::Bare(tenant));
        }
        assert_eq!(spoken(&placeholder(None, [1; 16])), Spoken::Marked(""));
        let Spoken::Marked(damaged) = spoken("countersign-m1-0123~") else { panic!("it is marked") };
        assert!(!is_tenant(damaged));
    }

    #[test]
    fn patterns_match_what_they_say() {
        let matches = |pattern: &str, tenant: &str| TenantPattern::parse(pattern).unwrap().matches(tenant);
        assert!(matches("m1", "m1") && !matches("m1", "m12") && !matches("m1", "M1"));
        assert!(matches("acme-*", "acme-eu") && matches("acme-*", "acme-") && !matches("acme-*", "acme"));
        assert!(matches("*", "anything") && matches("*-eu", "acme-eu") && !matches("*-eu", "acme-us"));
        assert!(matches("a*a", "aa") && !matches("a*a", "a"), "one character is not both ends");
        for bad in ["", "a b", "../x", "a/b", "**", "a*b*c"] {
            assert_eq!(TenantPattern::parse(bad), None, "{bad}");
        }
    }
}
