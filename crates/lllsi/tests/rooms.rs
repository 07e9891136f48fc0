//! A room by its name and password, and coming back, by the library alone.

use std::time::{Duration, Instant};

use lllsi::{
    Client, ClientBuilder, ClientCloseReason, ClientEvent, Host, HostEvent, LeftReason, PartReason,
    Pass, Server, ServerConfig, Size,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Joins until the first frame; gives what the host gave.
fn watch(client: ClientBuilder) -> Result<(Client, Pass), ClientCloseReason> {
    let client = client.name("Ada").start().expect("it starts");
    let (deadline, mut pass) = (Instant::now() + PATIENCE, None);
    loop {
        match client.recv(deadline).expect("something happens") {
            ClientEvent::Admitted(given) => pass = given,
            ClientEvent::Frame(_) => return Ok((client, pass.expect("a pass"))),
            ClientEvent::Closed(reason) => return Err(reason),
            _ => {}
        }
    }
}

#[test]
fn name_and_password_let_in_and_a_pass_brings_back_until_the_host_kicks() {
    let config = ServerConfig { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() };
    let server = Server::start(config).expect("it starts");
    let url = format!("http://{}/", server.http());
    let host = Host::builder().server(&url).size(Size::new(320, 240)).room(" den ").start();
    let host = host.expect("it starts");
    let soon = || Instant::now() + PATIENCE;
    assert!(matches!(host.recv(soon()), Some(HostEvent::Open)));
    let room = host.room().expect("it has a name");
    assert_eq!((room.name.as_str(), room.password.as_str().len()), ("den", 9));

    let wrong = watch(Client::join_room(&url, "den", "wrong")).err();
    assert_eq!(wrong, Some(ClientCloseReason::WrongPassword));
    let by_password = Client::join_room(&url, "den", room.password.as_str());
    let (client, pass) = watch(by_password.clone()).expect("it is let in");
    drop(client);
    let (client, _) = watch(Client::join_again(pass.clone())).expect("it is let in again");
    host.renew_invitation().expect("it can be renewed");
    let too_late = watch(by_password).err();
    assert_eq!(too_late, Some(ClientCloseReason::WrongPassword), "the password is another now");

    // She was there before.
    let arrival = |event| match event {
        HostEvent::Connected { id, .. } => Some(id),
        _ => None,
    };
    let mut arrivals = std::iter::from_fn(|| host.recv(soon())).filter_map(arrival);
    arrivals.next().expect("the first time");
    host.kick(arrivals.next().expect("the second time"));
    let kicked = LeftReason::Parted(PartReason::Kicked);
    let mut events = std::iter::from_fn(|| host.recv(soon()));
    assert!(events.any(|e| matches!(e, HostEvent::Left { reason, .. } if reason == kicked)));
    drop(client);
    assert_eq!(watch(Client::join_again(pass)).err(), Some(ClientCloseReason::WrongTicket));
}
