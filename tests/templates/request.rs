//! Templates with lists through the proxy: what arrives upstream is what was signed.

use crate::support::{Setup, Upstream};

fn table(url: &str) -> String {
    format!(
        r#"
        [credential.market.hmac]
        secret    = "key"
        values    = {{ all = "{{params(query,form)|sorted|pairs('{{k}}={{v}}','&')}}" }}
        sign      = "{{value.all}}"
        set_query = {{ app = "a b", ts = "{{timestamp}}", empty = "{{query.none}}", sign = "{{signature}}" }}
        set       = {{ X-Signed = "{{headers('x-a*')|merged(',')|pairs('{{k}}:{{v}}',';')}}", X-Nonce = "{{nonce(increasing)}}", X-Empty = "{{query.none}}" }}
        [[route]]
        name = "market"
        host = "market.test"
        upstream = "{url}"
        credential = "market"
        "#
    )
}

#[tokio::test]
async fn a_list_is_signed_as_it_arrives() {
    let upstream = Upstream::ok().await;
    let proxy = Setup::new(table(&upstream.url())).secret("key", "k1").start().await;
    let mut nonces = Vec::new();
    for _ in 0..3 {
        let body = "z=1&b=%C3%A9+x";
        let head = format!(
            "POST /p?c=3&app=worker&sign=forged&b=%41 HTTP/1.1\r\nHost: market.test\r\nX-Ab: 2\r\nX-Aa: 1\r\nX-Ab: 3\r\nX-Nonce: 9\r\nX-Empty: worker\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(proxy.raw(&head).await.status, 200);
        let seen = upstream.last().head;
        let query = seen.target().split_once('?').unwrap().1.to_owned();
        let time = query.split('&').find_map(|pair| pair.strip_prefix("ts=")).unwrap().to_owned();
        let text = format!("app=a b&b=A&b=é x&c=3&ts={time}&z=1");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"k1");
        let tag = ring::hmac::sign(&key, text.as_bytes());
        let wanted: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(query, format!("c=3&b=%41&app=a%20b&ts={time}&sign={wanted}"));
        assert_eq!(seen.header("x-signed"), Some("x-aa:1;x-ab:2,3"));
        assert_eq!(seen.header("x-empty"), None);
        nonces.push(seen.header("x-nonce").unwrap().parse::<u64>().unwrap());
    }
    assert!(nonces.is_sorted_by(|a, b| a < b), "{nonces:?}");
}
