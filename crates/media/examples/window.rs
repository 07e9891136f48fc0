//! Plays the screen, or the test card, in a window: capture and render without anything between.
//!
//! ```text
//! cargo run --release -p lllsi-media --example window -- test
//! cargo run --release -p lllsi-media --example window -- :1     # another display's screen
//! ```

use lllsi_media::capture::{self, Source};
use lllsi_media::convert;
use lllsi_media::picture::{I420, Size};
use lllsi_media::render::{self, Config, Event, Scene};
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut source: Box<dyn Source> = match std::env::args().nth(1).as_deref() {
        Some("test") => capture::test_card(Size::new(1280, 720), 60),
        display => capture::screen(display)?,
    };
    let config = Config { title: source.describe(), size: source.size(), fullscreen: false };
    let mut display = render::window(&config)?;
    let (mut picture, mut events) = (I420::default(), Vec::new());
    while !events.contains(&Event::Close) {
        events.clear();
        let now = Instant::now();
        if let Some(grab) = source.next(now, now + Duration::from_millis(15))? {
            convert::to_i420(grab.picture, grab.rows, &mut picture)?;
            display.show(&Scene { picture: Some(&picture), ..Scene::default() })?;
        }
        display.wait(Instant::now(), &mut events)?;
        if events.contains(&Event::Redraw) {
            display.show(&Scene { picture: Some(&picture), ..Scene::default() })?;
        }
    }
    Ok(())
}
