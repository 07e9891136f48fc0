//! Where a viewer sees the stream: in a window, or nowhere.

use std::task::Waker;
use std::time::Instant;

use lllsi::media::render::{self, Config, Display, Event, Key, Scene};
use lllsi::media::{self, picture::I420};
use lllsi::{Client, ClientEvent, Frame, Size};

use crate::failure::{Code, Failure};

/// A window's size until the first picture tells a better one.
const FIRST_SIZE: Size = Size::new(960, 540);

pub(crate) struct Screen {
    window: Option<Window>,
}

/// A window, and what it shows.
struct Window {
    display: Box<dyn Display>,
    frame: Option<Frame>,
    size: Option<Size>,
    notice: String,
    panel: String,
    panel_on: bool,
    fullscreen: bool,
    closed: bool,
    events: Vec<Event>,
}

impl Screen {
    /// No window: who wants to see something reads the figures.
    pub(crate) fn headless() -> Self {
        Self { window: None }
    }

    pub(crate) fn open(title: &str, fullscreen: bool) -> Result<Self, Failure> {
        let config = Config { title: title.to_owned(), size: FIRST_SIZE, fullscreen };
        let mut window = Window {
            display: render::window(&config).map_err(failed)?,
            frame: None,
            size: None,
            notice: "Connecting".into(),
            panel: String::new(),
            panel_on: false,
            fullscreen,
            closed: false,
            events: Vec::new(),
        };
        window.redraw()?;
        Ok(Self { window: Some(window) })
    }

    pub(crate) fn has_window(&self) -> bool {
        self.window.is_some()
    }

    /// What a client wakes when it has something for [`Self::recv`].
    pub(crate) fn waker(&self) -> Option<Waker> {
        self.window.as_ref().map(|window| window.display.waker())
    }

    /// Whether the person has closed the window.
    pub(crate) fn is_closed(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.closed)
    }

    /// The client's next event; meanwhile the window is looked after. `None`: nothing until `deadline`, or the window
    /// was closed.
    pub(crate) fn recv(
        &mut self,
        client: &Client,
        deadline: Instant,
    ) -> Result<Option<ClientEvent>, Failure> {
        let Some(window) = &mut self.window else {
            return Ok(client.recv(deadline));
        };
        while !window.closed {
            if let Some(event) = client.recv(Instant::now()) {
                window.take(client, &event)?;
                // However many frames come, the person comes between them.
                window.wait(Instant::now())?;
                return Ok(Some(event));
            }
            if Instant::now() >= deadline {
                break;
            }
            window.wait(deadline)?;
        }
        Ok(None)
    }

    /// Renews the figures.
    pub(crate) fn set_panel(&mut self, panel: impl FnOnce() -> String) -> Result<(), Failure> {
        match &mut self.window {
            Some(window) if window.panel_on => {
                window.panel = panel();
                window.redraw()
            }
            _ => Ok(()),
        }
    }
}

impl Window {
    /// Shows what a client's event is about.
    fn take(&mut self, client: &Client, event: &ClientEvent) -> Result<(), Failure> {
        let notice = match event {
            ClientEvent::Frame(frame) => {
                self.notice.clear();
                return self.show(client, frame);
            }
            ClientEvent::Waiting(code) => {
                &format!("Waiting for the host to let you in. Your code is {code}")
            }
            ClientEvent::Admitted(_) => "Looking for a path to the host",
            ClientEvent::Connected { .. } => "Connected; the picture is under way",
            ClientEvent::Restarting => "The path is dead; looking for another",
            ClientEvent::Away => "The host is not heard any more; trying to reach it again",
            ClientEvent::PathChanged(_) => "",
            _ => return Ok(()),
        };
        self.notice = notice.to_owned();
        self.redraw()
    }

    fn show(&mut self, client: &Client, frame: &Frame) -> Result<(), Failure> {
        if self.size.replace(frame.size) != Some(frame.size) {
            self.display.fit(frame.size);
        }
        // The one before goes back to the decoder.
        self.frame = Some(frame.clone());
        let at = self.draw()?;
        client.note_shown(frame, at);
        Ok(())
    }

    fn redraw(&mut self) -> Result<(), Failure> {
        self.draw().map(drop)
    }

    fn draw(&mut self) -> Result<Instant, Failure> {
        let picture: Option<&I420> = self.frame.as_ref().and_then(|frame| frame.picture.as_deref());
        let panel = if self.panel_on { self.panel.as_str() } else { "" };
        let scene = Scene { picture, panel, notice: &self.notice };
        self.display.show(&scene).map_err(failed)
    }

    fn wait(&mut self, deadline: Instant) -> Result<(), Failure> {
        let mut events = std::mem::take(&mut self.events);
        self.display.wait(deadline, &mut events).map_err(failed)?;
        for event in events.drain(..) {
            match event {
                Event::Close => self.closed = true,
                Event::Redraw => self.redraw()?,
                Event::Key(Key::F11) => {
                    self.fullscreen = !self.fullscreen;
                    self.display.set_fullscreen(self.fullscreen);
                }
                Event::Key(Key::F12) => {
                    self.panel_on = !self.panel_on;
                    self.redraw()?;
                }
                _ => {}
            }
        }
        self.events = events;
        Ok(())
    }
}

fn failed(error: media::Error) -> Failure {
    Failure::new(Code::Display, error)
}
