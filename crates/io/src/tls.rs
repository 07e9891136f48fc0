//! https: how a server proves itself, and what a peer takes as a proof.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lllsi_proto::invite::CertificateHash;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Error, local_addresses, state};

/// What a server has made for itself, in its directory.
const CERTIFICATE: &str = "certificate.der";
const KEY: &str = "key.der";

/// Certificate and key for https, as PEM files.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A server's end, with a certificate that somebody has signed for it.
pub(crate) fn signed(files: &Tls) -> Result<TlsAcceptor, Error> {
    let failed = |path: &Path, detail: String| Error::Tls { path: path.to_owned(), detail };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|e| failed(&files.certificate, e.to_string()))?;
    if chain.is_empty() {
        return Err(failed(&files.certificate, "it holds no certificate (PEM)".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| {
        let none = matches!(e, rustls::pki_types::pem::Error::NoItemsFound);
        let why = if none { "it holds no private key (PEM)".into() } else { e.to_string() };
        failed(&files.key, why)
    })?;
    acceptor(chain, key).map_err(|e| failed(&files.certificate, e.to_string()))
}

/// A server's end with a certificate of its own for the addresses of this machine, kept in `state` if there is such a
/// place. Nobody has signed it: those who know its hash know the server.
pub(crate) fn self_signed(state: Option<&Path>) -> Result<(TlsAcceptor, CertificateHash), Error> {
    let failed = |detail: String| match state {
        None => Error::Certificate { detail },
        Some(directory) => Error::Damaged {
            path: directory.join(CERTIFICATE),
            detail: format!("or {KEY} is: {detail}"),
            loss: "another is made once both are away, and links with https end",
        },
    };
    let [certificate, key] = match state {
        Some(directory) => kept(directory)?,
        None => fresh()?,
    };
    let hash = CertificateHash::of(&certificate);
    let key = PrivatePkcs8KeyDer::from(key).into();
    let acceptor = acceptor(vec![certificate.into()], key).map_err(|e| failed(e.to_string()))?;
    Ok((acceptor, hash))
}

/// A new certificate and its key.
fn fresh() -> Result<[Vec<u8>; 2], Error> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(local_addresses(0, true).iter().map(|address| address.ip().to_string()));
    let made = rcgen::generate_simple_self_signed(names);
    let made = made.map_err(|e| Error::Certificate { detail: e.to_string() })?;
    Ok([made.cert.der().to_vec(), made.signing_key.serialize_der()])
}

/// The certificate and key in a directory; made if there are none.
fn kept(directory: &Path) -> Result<[Vec<u8>; 2], Error> {
    let [certificate, key] = [CERTIFICATE, KEY].map(|name| directory.join(name));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Error::Tls { path, detail: error.to_string() }
    };
    if certificate.exists() || key.exists() {
        let read = |path: &Path| fs::read(path).map_err(failed(path));
        return Ok([read(&certificate)?, read(&key)?]);
    }
    state::prepare(directory)?;
    let made = fresh()?;
    for (path, bytes) in [(&key, &made[1]), (&certificate, &made[0])] {
        state::create(path, bytes).map_err(failed(path))?;
    }
    Ok(made)
}

fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, rustls::Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A peer's end: takes the one certificate with this hash, else what the system trusts.
pub(crate) fn connector(pinned: Option<CertificateHash>) -> Result<TlsConnector, String> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let config = match pinned {
        Some(hash) => config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { hash, provider: provider() })),
        None => config.with_root_certificates(system_roots()?),
    };
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this system has no root certificates to check the server's with".into());
    }
    Ok(roots)
}

/// Accepts one certificate, whatever names and dates stand in it. That the server has its key is checked as ever.
#[derive(Debug)]
struct Pinned {
    hash: CertificateHash,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if CertificateHash::of(certificate) == self.hash {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a peer that pins `pinned` talks to a server with `acceptor`.
    async fn meet(acceptor: TlsAcceptor, pinned: CertificateHash) -> bool {
        let (ours, theirs) = tokio::io::duplex(4096);
        let name = ServerName::try_from("203.0.113.1").expect("an address is a name");
        let connector = connector(Some(pinned)).expect("it can be made");
        let serving = tokio::spawn(async move { acceptor.accept(theirs).await.is_ok() });
        let connected = connector.connect(name, ours).await;
        serving.await.expect("it does not panic") && connected.is_ok()
    }

    #[tokio::test]
    async fn a_peer_takes_the_certificate_it_knows_and_no_other() {
        let (acceptor, hash) = self_signed(None).expect("it can be made");
        let (_, another) = self_signed(None).expect("it can be made");
        assert!(hash != another);
        assert!(meet(acceptor.clone(), hash).await);
        assert!(!meet(acceptor, another).await);
    }

    #[test]
    fn a_certificate_that_is_kept_is_the_same_after_a_restart() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = directory.path().join("state");
        let hash = || self_signed(Some(&place)).map(|(_, hash)| hash);
        let first = hash().expect("it is made");
        assert_eq!(hash().expect("it is read"), first);
        fs::write(place.join("key.der"), "nonsense").expect("it can be written");
        assert!(matches!(hash(), Err(Error::Damaged { .. })));
        fs::remove_file(place.join("key.der")).expect("it can be removed");
        assert!(matches!(hash(), Err(Error::Tls { .. })));
    }
}
