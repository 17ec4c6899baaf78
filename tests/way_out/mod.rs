//! The way out: whom TLS trusts, which addresses are never used, how names are resolved, the egress proxy.

mod addresses;
mod dns;
mod egress;
mod http2;
mod trust;

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use crate::support::worker::Answer;

const GET: &str = "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// The detail of a problem answer of this name.
#[track_caller]
fn refused(answer: &Answer, name: &str) -> String {
    assert_eq!(answer.error(), Some(name), "{answer:?}");
    assert_eq!(answer.status, 502);
    answer.json()["detail"].as_str().unwrap().to_owned()
}

/// A DNS server for which every name of `api.test` has one IPv4 address and no other exists.
async fn name_server(ip: [u8; 4]) -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer).await {
            let query = &buffer[..count];
            let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_ours = query[12..end].to_ascii_lowercase().starts_with(b"\x03api\x04test\0");
            let is_a = query[end - 4..end] == [0, 1, 0, 1];
            // RFC 1035 section 4.1: header, question, one answer with a TTL of 0 by pointer to the question.
            let mut answer = [&query[..2], &[0x85, if is_ours { 0x80 } else { 0x83 }, 0, 1]].concat();
            answer.extend([0, u8::from(is_ours && is_a), 0, 0, 0, 0]);
            answer.extend(&query[12..end]);
            if is_ours && is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend(ip);
            }
            socket.send_to(&answer, peer).await.unwrap();
        }
    });
    address
}
