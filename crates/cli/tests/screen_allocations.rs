//! Capture from a real screen and a real window allocate no picture while a stream runs, only the X protocol's small
//! messages. `crates/media/tests/allocations.rs` shows the other stages.

use std::process::Command;
use std::time::{Duration, Instant};

use lllsi::Size;
use lllsi::media::picture::I420;
use lllsi::media::render::{self, Config, Scene};
use lllsi::media::{capture, convert};
use lllsi_lab::{Allocations, Counting, Painter, XServer};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PICTURES: u32 = 60;
/// Events, replies and what is kept of requests under way: far less than a picture's rows.
const SMALL_PER_PICTURE: u64 = 60;

fn main() {
    match std::env::args().nth(1).filter(|argument| argument.starts_with(':')) {
        Some(display) => count(&display),
        None => {
            let screens = [XServer::start((640, 360), 24), XServer::start((640, 360), 24)];
            let itself = std::env::current_exe().expect("it is a file");
            let status = Command::new(itself)
                .arg(screens[0].display())
                .env("DISPLAY", screens[1].display())
                .env_remove("WAYLAND_DISPLAY")
                .status();
            assert!(status.expect("it starts").success());
            println!("test result: ok. 1 passed; 0 failed");
        }
    }
}

/// Shows the screen of a display in a window on the other.
fn count(display: &str) {
    let _painter = Painter::start(display, lllsi_lab::Scene::Scroll { fps: 60.0 });
    let mut source = capture::screen(Some(display)).expect("a screen");
    let config =
        Config { title: "allocations".into(), size: Size::new(640, 360), fullscreen: false };
    let mut window = render::window(&config).expect("a window");
    let (mut picture, mut events) = (I420::default(), Vec::new());
    let mut sums = [Allocations::default(); 2];
    for n in 0..2 * PICTURES {
        let now = Instant::now();
        let before = Allocations::so_far();
        let grab = source.next(now, now + Duration::from_secs(10)).expect("the screen is there");
        let grab = grab.expect("it moves");
        convert::to_i420(grab.picture, grab.rows, &mut picture).expect("it has a size");
        let between = Allocations::so_far();
        window.wait(now, &mut events).expect("the window is there");
        window.show(&Scene { picture: Some(&picture), ..Scene::default() }).expect("it is shown");
        // What the first pictures need is kept for the others.
        if n >= PICTURES {
            let spent = Allocations::since(between);
            let captured = Allocations {
                count: between.count - before.count,
                large: between.large - before.large,
                held: between.held - before.held,
            };
            for (sum, spent) in sums.iter_mut().zip([captured, spent]) {
                (sum.count, sum.large) = (sum.count + spent.count, sum.large + spent.large);
            }
        }
    }
    for (stage, sum) in ["capture", "present"].into_iter().zip(sums) {
        let small = sum.count / u64::from(PICTURES);
        println!("{stage}: {small} small allocations a picture, {} large in all", sum.large);
        assert_eq!(sum.large, 0, "{stage}");
        assert!(small <= SMALL_PER_PICTURE, "{stage}");
    }
}
