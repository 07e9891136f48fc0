//! DTLS as str0m does it by default, but for its patience: a lost handshake packet is sent again after a quarter of a
//! second, and then at least once a second. RFC 9147 (5.8.2) asks for a second that doubles where nothing is known of the
//! path; ICE has just measured it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Error, Output, ProtocolVersion};
use str0m::crypto::dtls::{DtlsInstance, DtlsProvider, DtlsVersion};
use str0m::crypto::{CryptoError, CryptoProvider};

const FIRST_RTO: Duration = Duration::from_millis(250);
/// dimpl doubles its timer with each retry. Its clock is put forward instead of waiting longer than this.
const MAX_RTO: Duration = Duration::from_secs(1);
/// dimpl's "never" is ten years: that is no retry.
const NOT_A_RETRY: Duration = Duration::from_secs(30 * 24 * 3600);
/// The link's limit of time comes first.
const RETRIES: usize = 64;
/// It counts from when the client made its offer, and the client may wait in the lobby for long. The link has a limit of
/// its own for the time after.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// str0m's provider with our DTLS in it.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider { dtls_provider: &PatientDtls, ..str0m::crypto::from_feature_flags() }
}

#[derive(Debug)]
struct PatientDtls;

impl DtlsProvider for PatientDtls {
    fn generate_certificate(&self) -> Option<DtlsCertificate> {
        dimpl::certificate::generate_self_signed_certificate().ok()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCertificate,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        // ICE has shown that the peer is where it says: no cookie round trip.
        let mut config = Config::builder()
            .use_server_cookie(false)
            .flight_start_rto(FIRST_RTO)
            .flight_retries(RETRIES)
            .handshake_timeout(HANDSHAKE_TIMEOUT);
        if let Some(mtu) = mtu {
            config = config.mtu(mtu);
        }
        let config = config.build().map_err(|e| CryptoError::Other(e.to_string()))?;
        let (config, certificate) = (Arc::new(config), certificate.clone());
        let dtls = match version {
            DtlsVersion::Dtls12 => Dtls::new_12(config, certificate, now),
            DtlsVersion::Dtls13 => Dtls::new_13(config, certificate, now),
            _ => Dtls::new_auto(config, certificate, now),
        };
        Ok(Box::new(Instance { dtls, now, ahead: Duration::ZERO }))
    }
}

#[derive(Debug)]
struct Instance {
    dtls: Dtls,
    now: Instant,
    /// How far dimpl's clock has been put forward.
    ahead: Duration,
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), Error> {
        self.dtls.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> Output<'a> {
        match self.dtls.poll_output(buf) {
            Output::Timeout(theirs) => {
                let wait = theirs.saturating_duration_since(self.now + self.ahead);
                if wait > MAX_RTO && wait < NOT_A_RETRY {
                    self.ahead += wait - MAX_RTO;
                }
                Output::Timeout(theirs.checked_sub(self.ahead).unwrap_or(theirs))
            }
            output => output,
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.now = now;
        self.dtls.handle_timeout(now + self.ahead)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, Error> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), Error> {
        self.dtls.close()
    }
}
