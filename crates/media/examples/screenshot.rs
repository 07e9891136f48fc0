//! Writes one picture of the screen, or of the test card, to a PNG file.
//!
//! ```text
//! cargo run -p lllsi-media --example screenshot -- screen.png
//! cargo run -p lllsi-media --example screenshot -- card.png test
//! ```

use lllsi_media::capture::{self, Source};
use lllsi_media::picture::{Bgra, Size};
use std::error::Error;
use std::fs::File;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: screenshot FILE.png [test | DISPLAY]")?;
    let mut source: Box<dyn Source> = match arguments.next().as_deref() {
        Some("test") => capture::test_card(Size::new(1280, 720), 30),
        display => capture::screen(display)?,
    };
    let now = Instant::now();
    let grab = source.next(now, now + Duration::from_secs(1))?;
    let picture = grab.ok_or("the screen gives no picture")?.picture;

    let size = picture.size();
    let mut file = png::Encoder::new(File::create(path)?, size.width, size.height);
    file.set_color(png::ColorType::Rgb);
    let rgb: Vec<u8> =
        picture.data().chunks(Bgra::PIXEL).flat_map(|p| [p[2], p[1], p[0]]).collect();
    file.write_header()?.write_image_data(&rgb)?;
    Ok(())
}
