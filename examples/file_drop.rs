//! A file to everybody who comes: reliable, with progress; a link that is lost on the way is made anew, and it goes on.
//!
//! ```text
//! cargo run -p lllsi --example file_drop -- FILE          sends the file to whoever takes the link that is printed
//! cargo run -p lllsi --example file_drop -- LINK FILE     takes it
//! ```

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use lllsi::stream::Raw;
use lllsi::{Client, Host, Publish, Server, ServerConfig, Source};
use sha2::{Digest, Sha256};

const PIECE: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [path] => send(path),
        [link, path] => take(link, path),
        _ => Err("FILE to send one, LINK FILE to take one".into()),
    }
}

fn send(path: &str) -> Result<(), Box<dyn Error>> {
    let (mut file, size) = (File::open(path)?, std::fs::metadata(path)?.len());
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(ServerConfig { listen, ..Default::default() })?;
    let host =
        Host::builder().server(format!("http://{}", server.http())).source(Source::None).start()?;
    let pieces = host.publish::<Raw>(Publish::reliable("file"))?;
    println!("Take it: {}", host.link());
    pieces.stream().wait_for_subscribers(1, Instant::now() + Duration::from_secs(3600));
    pieces.push_back(Raw(size.to_be_bytes().to_vec().into()))?;
    let (mut sum, mut sent) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        sum.update(&piece[..length]);
        pieces.push_back(Raw(piece[..length].to_vec().into()))?;
        sent += length as u64;
        progress("sent", sent, size);
    }
    pieces.push_back(Raw(sum.finalize().to_vec().into()))?;
    // Everybody has all of it then.
    if !pieces.stream().flush(Instant::now() + Duration::from_secs(600)) {
        return Err("it was not taken within ten minutes".into());
    }
    if pieces.stream().subscribers().is_empty() {
        return Err("whoever took it is gone".into());
    }
    println!("\nAll of it was taken.");
    Ok(())
}

fn take(link: &str, path: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::join(link).name("taker").decode(false).start()?;
    let pieces = client.vector::<Raw>("file")?;
    let next = || {
        let piece = pieces.pop_front(Instant::now() + Duration::from_secs(60))?;
        piece
            .map(|Raw(bytes)| bytes)
            .ok_or_else(|| Box::<dyn Error>::from("nothing came for a minute"))
    };
    let size = u64::from_be_bytes(next()?[..].try_into()?);
    let (mut file, mut sum, mut taken) = (File::create(path)?, Sha256::new(), 0);
    while taken < size {
        let piece = next()?;
        file.write_all(&piece)?;
        sum.update(&piece);
        taken += piece.len() as u64;
        progress("taken", taken, size);
    }
    if next()?[..] != sum.finalize()[..] {
        return Err("the checksum is wrong".into());
    }
    // The host ends it when it has heard that all was taken.
    while pieces.pop_front(Instant::now() + Duration::from_secs(60)).is_ok_and(|p| p.is_some()) {}
    println!("\n{path}: {size} bytes, the checksum is right.");
    Ok(())
}

fn progress(what: &str, bytes: u64, of: u64) {
    let percent = (bytes * 100).checked_div(of).unwrap_or(100);
    let bar = "#".repeat(percent as usize / 4);
    print!("\r[{bar:25}] {percent:3} % {what}");
    let _ = std::io::stdout().flush();
}
