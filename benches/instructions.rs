//! One named piece of the request path, so many times: what `bench/instructions` counts the instructions of.
//!
//!     instructions               the names of all cases
//!     instructions CASE COUNT    runs one
//!
//! Counts do not depend on what else the machine does, unlike times; the counter is valgrind, outside of this program.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use countersign::clock::{Sequence, Timestamp};
use countersign::proxy::hop::{clean_answer, clean_request};
use countersign::proxy::names::Names;
use countersign::route::host::HostPattern;
use countersign::route::table::{Entry, Port, Table};
use countersign::secret::name::NamePattern;
use countersign::secret::value::SecretBytes;
use countersign::sign::api_key::ApiKey;
use countersign::sign::basic::{Basic, PublicValue};
use countersign::sign::bearer::Bearer;
use countersign::sign::hmac::{Hmac, HmacSpec, KeySpec, SignatureEncoding};
use countersign::sign::http_signature::{Algorithm, DigestHash, HttpSignature, Parameter, Profile, Spec};
use countersign::sign::material::{HashAlgorithm, KeyEncoding, Kind, Material};
use countersign::sign::seal::{Draft, Kept, Step, Twins};
use countersign::sign::target::Host;
use countersign::sign::{SignContext, Signable, Signer, Slot};
use countersign::template::{Input, Lists, Position, Scope, Secrets, Template};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

type Failure = Box<dyn Error>;
/// Runs its piece once. What it makes is given to `black_box`, so that it is really made.
type Case = Box<dyn Fn() -> Result<(), Failure>>;

const CONTEXT: SignContext<'static> = SignContext {
    now: Timestamp { seconds: 1_790_000_000, nanos: 0 },
    random: [7; 32],
    fixed_nonce: None,
    tenant: None,
    captures: &[],
    sequence: Sequence { millis: 0, micros: 0, nanos: 0 },
    access_token: None,
    turn: None,
};

/// What a worker's HTTP library sends, more or less.
const HEADERS: &[(&str, &str)] = &[
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate"),
    ("user-agent", "python-requests/2.34.2"),
    ("content-type", "application/json"),
    ("x-request-id", "6f1c2f5e-5d8e-4b34-9a0a-7f6a3f0f8a11"),
];

/// What stands in a request or an answer beside them and must not be passed on.
const HOP_BY_HOP: &[(&str, &str)] = &[("connection", "keep-alive, x-hop"), ("keep-alive", "timeout=5"), ("x-hop", "1")];

fn headers(lists: &[&[(&'static str, &'static str)]]) -> HeaderMap {
    let one = |&(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    lists.iter().copied().flatten().map(one).collect()
}

fn signable<'a>(headers: &'a HeaderMap, body: Option<&'a [u8]>) -> Signable<'a> {
    Signable {
        method: "POST",
        scheme: "https",
        host: "api.example.com",
        path: "/v1/orders",
        query: Some("limit=50&status=open"),
        headers,
        body,
    }
}

fn pattern() -> Result<NamePattern, Failure> {
    Ok(NamePattern::parse("partner/key")?)
}

fn materials(signer: &Signer) -> Result<Vec<Material>, Failure> {
    let load = |one: &countersign::sign::Requirement| {
        // Of an Ed25519 key the seed in base64.
        let secret: &[u8] = match one.kind {
            Kind::PrivateKey(_) => b"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            _ => b"0123456789abcdef0123456789abcdef",
        };
        let secret = SecretBytes::new(secret.to_vec());
        one.kind.load(&secret).map_err(|reason| format!("{reason:?}").into())
    };
    signer.requirements().iter().map(load).collect()
}

/// A signer alone: from request and key to what is put in.
fn signs(signer: Signer, body: Option<Vec<u8>>) -> Result<Case, Failure> {
    let (keys, headers) = (materials(&signer)?, headers(&[HEADERS]));
    Ok(Box::new(move || {
        let request = signable(&headers, body.as_deref());
        black_box(signer.sign(black_box(&request), &keys, &CONTEXT)?);
        Ok(())
    }))
}

fn hmac(sign: &str) -> Result<Signer, Failure> {
    let spec = HmacSpec {
        key: KeySpec::Secret(pattern()?, KeyEncoding::Text),
        algorithm: HashAlgorithm::Sha256,
        encoding: SignatureEncoding::Hex,
        sign: sign.to_owned(),
        values: Vec::new(),
        set: vec![
            (HeaderName::from_static("x-timestamp"), "{timestamp}".to_owned()),
            (HeaderName::from_static("x-signature"), "{signature}".to_owned()),
        ],
        set_query: Vec::new(),
        set_form: Vec::new(),
        set_json: Vec::new(),
    };
    Ok(Signer::Hmac(Box::new(Hmac::compile(spec).map_err(|mistakes| format!("{mistakes:?}"))?)))
}

/// What most users of RFC 9421 cover.
fn http_signature(algorithm: Algorithm) -> Result<Case, Failure> {
    let components = ["@method", "@target-uri", "content-type", "content-digest"];
    let spec = Spec {
        key: pattern()?,
        key_encoding: KeyEncoding::Text,
        algorithm,
        key_id: Some(PublicValue::Literal("shop".to_owned())),
        components: components.map(str::to_owned).to_vec(),
        parameters: vec![Parameter::Created, Parameter::KeyId],
        label: "sig1".to_owned(),
        tag: None,
        expires: None,
        digest: DigestHash::Sha256,
        profile: Profile::Rfc9421,
    };
    let signer = HttpSignature::new(spec).map_err(|mistakes| format!("{mistakes:?}"))?;
    signs(Signer::HttpSignature(Box::new(signer)), Some(vec![b'a'; 1024]))
}

fn template(text: &str) -> Result<Case, Failure> {
    let scope = Scope { position: Position::Signed, values: &[], lists: Lists::Plain };
    let made = Template::parse(text, scope, &mut Secrets::default()).map_err(|mistakes| format!("{mistakes:?}"))?;
    let (headers, body) = (headers(&[HEADERS]), vec![b'a'; 1024]);
    Ok(Box::new(move || {
        let request = signable(&headers, Some(&body));
        let input = Input {
            request: &request,
            context: &CONTEXT,
            keys: &[],
            values: &[],
            shown: &[],
            own: &[],
            signature: None,
        };
        let mut out = Vec::with_capacity(512);
        black_box(&made).write(&input, &mut out)?;
        black_box(out);
        Ok(())
    }))
}

fn lookup(count: usize, form: fn(usize) -> String, asked: &'static str) -> Result<Case, Failure> {
    let hosts = (0..count).map(|turn| HostPattern::parse(&form(turn))).collect::<Result<Vec<_>, _>>()?;
    let entry = |host| Entry { host, path: Some("/v1"), methods: None, upstream_port: 443, prefix: None };
    let table = Table::build(hosts.iter().map(entry));
    Ok(Box::new(move || {
        let found = table.find(black_box(asked), Port::default(), "/v1/orders", &Method::POST);
        black_box(found.ok_or("no route")?);
        Ok(())
    }))
}

/// From cleaned headers to a request that may leave: slots emptied, credential put in.
fn seals(signer: Signer) -> Result<Case, Failure> {
    let keys = materials(&signer)?;
    let (signer, kept, host) = (Arc::new(signer), Kept::default(), Host::new("api.example.com").ok_or("no host")?);
    let headers = headers(&[HEADERS]);
    Ok(Box::new(move || {
        let mut draft = Draft {
            method: Method::POST,
            tls: true,
            host: host.clone(),
            target: "/v1/orders?limit=50".into(),
            headers: headers.clone(),
        };
        draft.strip(signer.slots(), Twins::None);
        let step = Step { signer: &signer, keys: &keys, kept: Some(&kept) };
        black_box(draft.seal(&[step], None, &CONTEXT)?.into_request(())?);
        Ok(())
    }))
}

fn cleans(lists: &[&[(&'static str, &'static str)]], clean: fn(&mut HeaderMap) -> Result<(), Failure>) -> Case {
    let headers = headers(lists);
    Box::new(move || {
        let mut copy = black_box(&headers).clone();
        clean(&mut copy)?;
        black_box(copy);
        Ok(())
    })
}

fn request_headers(headers: &mut HeaderMap) -> Result<(), Failure> {
    let names = Names::of(headers);
    clean_request(headers, names).map_err(|_| "refused".into())
}

fn answer_headers(headers: &mut HeaderMap) -> Result<(), Failure> {
    let names = Names::of(headers);
    clean_answer(headers, names);
    Ok(())
}

/// The names of all cases, each with what builds it: building some takes longer than running them.
type Builder = fn() -> Result<Case, Failure>;

fn key(slot: Slot) -> Result<Case, Failure> {
    signs(Signer::ApiKey(Box::new(ApiKey::new(pattern()?, slot, String::new()))), None)
}

const CASES: &[(&str, Builder)] = &[
    ("sign/bearer", || signs(Signer::Bearer(Bearer::new(pattern()?)), None)),
    ("sign/basic", || {
        signs(Signer::Basic(Box::new(Basic::new(PublicValue::Literal("shop".into()), pattern()?))), None)
    }),
    ("sign/api-key in a header", || key(Slot::Header(HeaderName::from_static("x-api-key")))),
    ("sign/api-key in the query", || key(Slot::Query("key".to_owned()))),
    ("sign/hmac, no body", || signs(hmac("{timestamp}\n{method}\n{target}")?, None)),
    ("sign/hmac, 1 KiB body", || {
        signs(hmac("{timestamp}\n{method}\n{target}\n{body|sha256|hex}")?, Some(vec![b'a'; 1024]))
    }),
    ("sign/hmac over 1 KiB of body", || signs(hmac("{body}")?, Some(vec![b'a'; 1024]))),
    ("sign/hmac, 8 sorted parameters", || {
        let list = "{path}{params(query,json)|without(sign)|sorted|pairs('{k}{v}','')}";
        signs(hmac(list)?, Some(br#"{"order_id":1,"name":"a b","Z":9,"c":"x","empty":"","z":[1]}"#.to_vec()))
    }),
    ("sign/hmac, canonical headers", || {
        signs(hmac("{headers('host','x-*')|merged(',')|pairs('{k}:{v}\\n','')}")?, None)
    }),
    ("sign/RFC 9421 by HMAC, 1 KiB body", || http_signature(Algorithm::HmacSha256)),
    ("sign/RFC 9421 by Ed25519, 1 KiB body", || http_signature(Algorithm::Ed25519)),
    ("template/method, path, time", || template("{method}\n{path}\n{timestamp}")),
    ("template/query parameter, header, host", || {
        template("{query.status|upper}\n{header.content-type|lower}\n{host}")
    }),
    ("template/1 KiB body, SHA-256, base64", || template("{body|sha256|base64}")),
    ("route/1 of 10 hosts", || lookup(10, |turn| format!("h{turn}.shops.example"), "h9.shops.example")),
    ("route/1 of 10 000 hosts", || lookup(10_000, |turn| format!("h{turn}.shops.example"), "h9999.shops.example")),
    ("route/1 of 10 000 captures", || lookup(10_000, |turn| format!("{{shop}}.p{turn}.example"), "acme.p9999.example")),
    ("head/copy, which the next two include", || Ok(cleans(&[HEADERS], |_| Ok(())))),
    ("head/clean request", || Ok(cleans(&[HEADERS, HOP_BY_HOP], request_headers))),
    ("head/clean answer", || Ok(cleans(&[HEADERS, HOP_BY_HOP], answer_headers))),
    ("head/draft to sealed, bearer", || seals(Signer::Bearer(Bearer::new(pattern()?)))),
];

#[allow(clippy::print_stdout)] // its one purpose
fn main() -> Result<(), Failure> {
    // `cargo bench` adds a word of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.as_slice() {
        [] => CASES.iter().for_each(|(name, _)| println!("{name}")),
        [name, count] => {
            let (_, build) = CASES.iter().find(|(known, _)| known == name).ok_or("no such case")?;
            let case = build()?;
            for _ in 0..count.parse::<u32>()? {
                case()?;
            }
        }
        _ => return Err("instructions [CASE COUNT]".into()),
    }
    Ok(())
}
