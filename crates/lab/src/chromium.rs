//! A real browser without a window, driven over the Chrome DevTools Protocol.

use std::cell::{Cell, RefCell};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::network::{Network, Side};
use crate::space::Space;

/// Generous: what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to look whether something has come true.
const TURN: Duration = Duration::from_millis(50);
/// Makes Chromium put real addresses into candidates, not mDNS names.
const PLAIN_ADDRESSES: &str = "--disable-features=WebRtcHideLocalIpsWithMdns";

/// A running Chromium with a profile of its own. Killed when dropped.
pub struct Chromium {
    child: Child,
    profile: TempDir,
    /// The machine that it runs on.
    space: Option<Space>,
    /// What that machine lives with.
    _network: Option<Arc<Network>>,
}

/// One of its tabs. Closed with the browser.
pub struct Tab {
    socket: RefCell<WebSocket<TcpStream>>,
    calls: Cell<u64>,
}

impl Chromium {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let mut command = Command::new("chromium");
        command.arg("--headless=new");
        // A machine that is reached by its name in a network.
        command.arg("--host-resolver-rules=MAP lan.example 127.0.0.1");
        Self::launch(command, None)
    }

    /// Starts it on a machine that outlives it, without a window.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn inside(space: &Space) -> Self {
        let mut command = space.command("chromium");
        command.args(["--headless=new", PLAIN_ADDRESSES]);
        Self::launch(command, Some(space.clone()))
    }

    /// Starts it on one of two machines, with a window over the whole of a display, or out of sight.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn on(
        network: &Arc<Network>,
        side: Side,
        display: &str,
        place: Option<(u16, u16)>,
    ) -> Self {
        let mut command = network.command(side, "chromium");
        command.env("DISPLAY", display);
        match place {
            Some((width, height)) => {
                command.args(["--kiosk", "--window-position=0,0"]);
                // Without a window manager a pixel is missing at the edges.
                command.arg(format!("--window-size={},{}", width + 1, height + 1))
            }
            None => command.args(["--window-position=9000,9000", "--window-size=300,200"]),
        };
        // Screens are picked without a question.
        command.args(["--auto-select-desktop-capture-source=Entire screen", "--no-pings"]);
        command.args([PLAIN_ADDRESSES, "--noerrdialogs"]);
        command.args(["--disable-backgrounding-occluded-windows", "--disable-infobars"]);
        command.args(["--disable-renderer-backgrounding", "--disable-background-timer-throttling"]);
        let mut chromium = Self::launch(command, Some(network.space(side).clone()));
        chromium._network = Some(Arc::clone(network));
        chromium
    }

    fn launch(mut command: Command, space: Option<Space>) -> Self {
        let profile = tempfile::tempdir().expect("a temporary directory");
        let child = command
            .args(["--no-sandbox", "--no-first-run", "--disable-gpu"])
            .args(["--remote-debugging-port=0", "--ignore-certificate-errors"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("Chromium does not start: {error}; `.ci/e2e` installs what is needed")
            });
        Self { child, profile, space, _network: None }
    }

    /// Opens a page in a tab of its own; does not wait until it is loaded.
    ///
    /// # Panics
    ///
    /// If the browser does not answer.
    #[must_use]
    pub fn open(&self, url: &str) -> Tab {
        let (port, path) = self.endpoint();
        let socket = self.connect(port, &path);
        let browser = Tab { socket: RefCell::new(socket), calls: Cell::new(0) };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let id = target["targetId"].as_str().expect("a new tab has a name").to_owned();
        let tab = Tab {
            socket: RefCell::new(self.connect(port, &format!("/devtools/page/{id}"))),
            calls: Cell::new(0),
        };
        tab.call("Page.enable", json!({}));
        tab.navigate(url);
        tab
    }

    /// The tab that it began with.
    ///
    /// # Panics
    ///
    /// If the browser does not answer.
    #[must_use]
    pub fn first(&self) -> Tab {
        let (port, path) = self.endpoint();
        let browser = Tab { socket: RefCell::new(self.connect(port, &path)), calls: Cell::new(0) };
        let id = wait("a tab", || {
            let targets = browser.call("Target.getTargets", json!({}));
            let pages = targets["targetInfos"].as_array()?.clone();
            let page = pages.into_iter().find(|target| target["type"] == "page")?;
            page["targetId"].as_str().map(str::to_owned)
        });
        let socket = self.connect(port, &format!("/devtools/page/{id}"));
        let tab = Tab { socket: RefCell::new(socket), calls: Cell::new(0) };
        tab.call("Page.enable", json!({}));
        tab
    }

    fn connect(&self, port: u16, path: &str) -> WebSocket<TcpStream> {
        let stream = match &self.space {
            Some(space) => space.connect(port),
            None => TcpStream::connect(("127.0.0.1", port)),
        };
        let stream = stream.expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let url = format!("ws://127.0.0.1:{port}{path}");
        tungstenite::client(url, stream).expect("the browser speaks WebSocket").0
    }

    /// Where it listens: it says so in a file.
    fn endpoint(&self) -> (u16, String) {
        let file = self.profile.path().join("DevToolsActivePort");
        wait("Chromium to start", || {
            let text = fs::read_to_string(&file).ok()?;
            let (port, path) = text.split_once('\n')?;
            Some((port.parse().ok()?, path.trim().to_owned()))
        })
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tab {
    /// Goes to another page.
    pub fn navigate(&self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// Runs a script at the beginning of each page from the next on.
    pub fn before(&self, script: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": script}));
    }

    /// What an expression of JavaScript is, or becomes if it is a promise.
    ///
    /// # Panics
    ///
    /// If it throws.
    #[must_use]
    pub fn evaluate(&self, expression: &str) -> Value {
        self.run(expression, false)
    }

    /// The same, as if somebody had clicked for it.
    ///
    /// # Panics
    ///
    /// If it throws.
    pub fn click(&self, expression: &str) -> Value {
        self.run(expression, true)
    }

    fn run(&self, expression: &str, is_clicked: bool) -> Value {
        let arguments = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": is_clicked,
        });
        let answer = self.call("Runtime.evaluate", arguments);
        if let Some(thrown) = answer.get("exceptionDetails") {
            panic!("`{expression}` throws {thrown}");
        }
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is neither false nor nothing; answers it.
    ///
    /// # Panics
    ///
    /// If it does not become so.
    pub fn until(&self, what: &str, expression: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.evaluate(expression);
            if value != Value::Null && value != Value::Bool(false) {
                return value;
            }
            if Instant::now() >= deadline {
                let shown = self.evaluate("document.body.innerText");
                panic!("no {what}: `{expression}` is {value}. The page says: {shown}");
            }
            thread::sleep(TURN);
        }
    }

    /// Makes the page as large as this, in CSS pixels; `dark` is what its reader prefers.
    pub fn resize(&self, (width, height): (u32, u32), dark: bool) {
        let mobile = width < 600;
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme =
            json!({"name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" }});
        self.call("Emulation.setEmulatedMedia", json!({"features": [scheme]}));
    }

    /// Saves what the page shows, as PNG.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn screenshot(&self, path: &Path) {
        // A tab behind others is not painted after a while.
        self.call("Page.bringToFront", json!({}));
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let data = STANDARD.decode(answer["data"].as_str().unwrap_or_default());
        let written = fs::write(path, data.expect("a screenshot is base64"));
        written.unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    }

    /// Calls a method of the protocol; answers its result.
    fn call(&self, method: &str, parameters: Value) -> Value {
        let id = self.calls.get() + 1;
        self.calls.set(id);
        let mut socket = self.socket.borrow_mut();
        let request = json!({"id": id, "method": method, "params": parameters}).to_string();
        socket.send(Message::text(request)).expect("the browser listens");
        loop {
            let message = socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Ok(answer) = serde_json::from_str::<Value>(message.to_text().unwrap_or_default())
            else {
                continue;
            };
            // Anything else is an event, which nobody waits for.
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(TURN);
    }
}
