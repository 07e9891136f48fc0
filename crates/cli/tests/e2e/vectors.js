// Runs in the page: published vectors, and those of this project's documents, against the page's own modules.
// Becomes how many were checked; throws at the first that differs.
(async () => {
  const modules = ["noise", "binding", "invite", "bytes", "control", "cpace", "sealed", "password"];
  const [{ Initiator, hkdf }, { Binding }, { parseInvite }, { fromBase64, toBase64 }, control, cpace, { commit, shortCode }, { pskOf }] =
    await Promise.all(modules.map((name) => import(`/${name}.js`)));
  const hex = (text) => Uint8Array.from(text.replace(/\s/g, "").match(/../g) ?? [], (byte) => parseInt(byte, 16));
  const text = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const from = (first) => Uint8Array.from({ length: 32 }, (_, i) => first + i);
  const utf8 = (words) => new TextEncoder().encode(words);
  let checked = 0;
  const same = (what, found, expected) => {
    if (found !== expected) throw new Error(`${what}: ${found}, not ${expected}`);
    checked += 1;
  };
  const refused = async (what, act) => {
    const went = await Promise.resolve().then(act).then(() => "accepted", () => "refused");
    same(what, went, "refused");
  };

  /** An X25519 key pair of which the private key is known. */
  const pair = async (secret) => {
    const wrapped = new Uint8Array([...hex("302e020100300506032b656e04220420"), ...secret]);
    const privateKey = await crypto.subtle.importKey("pkcs8", wrapped, "X25519", true, ["deriveBits"]);
    const { kty, crv, x } = await crypto.subtle.exportKey("jwk", privateKey);
    const publicKey = await crypto.subtle.importKey("jwk", { kty, crv, x }, "X25519", true, []);
    return { privateKey, publicKey };
  };
  const raw = async ({ publicKey }) => text(new Uint8Array(await crypto.subtle.exportKey("raw", publicKey)));
  const agree = async ({ privateKey }, { publicKey }) =>
    text(new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: publicKey }, privateKey, 256)));

  // RFC 7748, section 6.1.
  const alice = await pair(hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
  const bob = await pair(hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
  const shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
  same("X25519, Alice", await raw(alice), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  same("X25519, Bob", await raw(bob), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  same("X25519, Alice with Bob", await agree(alice, bob), shared);
  same("X25519, Bob with Alice", await agree(bob, alice), shared);

  // RFC 5869, A.1.
  const okm = await hkdf(hex("000102030405060708090a0b0c"), new Uint8Array(22).fill(0x0b), hex("f0f1f2f3f4f5f6f7f8f9"), 42);
  const expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
  same("HKDF", text(okm), expected);

  // draft-irtf-cfrg-cpace-21, B.1.
  const hashed = hex("03998087bdb1a2617bbe25ef5a7c18cd4f84f902328701790958755ee4aed1d3");
  const generator = "d04bf6d41f6a289632a2e929fa29bebd51092512a7829fdde7d314b62f05a73f";
  same("CPace's generator", text(cpace.mapToCurve(hashed)), generator);
  const channel = utf8("\x0bA_initiator\x0bB_responder");
  const scalar = hex("21b4f4bd9e64ed355c3eb676a28ebedaf6d8f17bdc365995b319097153044080");
  const begin = () => cpace.Exchange.begin(utf8("Password"), channel, hex("7e4b4791d6a8ef019b936c79fb7f2c57"), scalar);
  const exchange = await begin();
  const share = "1d13c89278cdadd826f6d8d7f887701430f8380ddc17611cdd6dc989ce0c9f32";
  same("CPace's share", text(exchange.share), share);
  const other = hex("248cccf6d5cdc3646f0ad593f9e6cef4e69d4945f8372e623512ecea32185623");
  const isk = `6e19b875f7a561d6b3ca3dbb9ef42ac55de3e717881018204b8922b4d5e53bb2
    aa82c300bea7b65d2b671da71922ddf6472301b79bc270adfa8bf413285f2263`.replace(/\s/g, "");
  same("CPace's key", text(await exchange.finish(other, [utf8("ADa"), utf8("ADb")])), isk);
  for (const point of [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  ]) {
    const once = await begin();
    await refused(`the share ${point}`, () => once.finish(hex(point)));
  }

  // docs/rendezvous.md, section 14, as the native side computes it with an implementation of Noise of another author.
  const room = "72dbb7336c76780023f83da4c355f2eeea85733b13d3477697917790c1229084";
  const prologue = hex(`4c4c4c5349207369676e616c6c696e67207602${room}`);
  const hostKey = hex("8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
  const shake = async () => Initiator.begin(prologue, hostKey, from(0x40), await pair(from(0x60)));
  const noise = await shake();
  const message1 = `675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f
    5e206f5d3d8ac074c52dff564f141d85a89bb2630d`.replace(/\s/g, "");
  same("message 1", text(await noise.write(utf8("hello"))), message1);
  const message2 = hex(`493e82fc74464a59268817623d2053c5eb8e2cc4a988b4fee179ec6b010d531d
    cf9efb007ef44bd0044f6c67c4c4bcf2fe1715e7cdd5d5`);
  const { payload, session } = await noise.read(message2);
  same("payload 2", text(payload), text(utf8("welcome")));
  same("hash", text(session.hash), "68e4de704bba73baaa2ea22425f0de5d4b186d94f201e5f454633f26c7e0b88c");
  const nonces = [1, 2].map((byte) => new Uint8Array(32).fill(byte));
  const openings = [3, 4].map((byte) => new Uint8Array(32).fill(byte));
  same("our commitment", text(await commit("client", openings[0])), "f4419f67de87a2d5e94bcc8dc888f5b5bcb456c0da30fbb2612ced9f845d1703");
  same("the host's", text(await commit("host", openings[1])), "847c10408626f7fe30df97a8bf2a388ac7764a847c96381be443c789ac145608");
  same("short code", await shortCode(session.hash, ...nonces, ...openings), "811 496");
  same("sealed", text(await session.sealer.seal(utf8("one"))), "2089438654520be580ab86e297bc5ad3e743cd");
  const two = hex("662a09886cfa47890f1d10e49102daf079dfdf");
  same("opened", text(await session.opener.open(two)), text(utf8("two")));
  await refused("a message that comes twice", () => session.opener.open(two));
  for (const [what, at] of [["another key in message 2", 0], ["another payload in message 2", 40]]) {
    const altered = message2.slice();
    altered[at] ^= 1;
    const again = await shake();
    await again.write(utf8("hello"));
    await refused(what, () => again.read(altered));
  }

  // docs/rendezvous.md, section 15.
  const subject = new Uint8Array([...utf8("LLLSI room v"), 2, ...utf8("kitchen")]);
  const asking = await cpace.Exchange.begin(utf8("k3f9-2mxq"), subject, from(0xf0).slice(0, 16), from(0xa0));
  same("our share", text(asking.share), "8220a36f29ee268c997334516a7761238042cbb58d964dc129ae9b2071504016");
  const hostShare = hex("bc550f26aa5b89bfe56a2bc75e5741f4f728cedde06196dfc92011002934e044");
  const psk = "61a0316f94ee259ac9285d507ca32db7aaa854dd1e165f3650144d5b6f3faa6e";
  same("a password's key", text(await pskOf(asking, hostShare, hostKey)), psk);

  // docs/control.md, section 3.4.
  const [client, host] = [0xaa, 0xbb].map((byte) => new Uint8Array(32).fill(byte));
  const binding = await Binding.of(session.hash, ...nonces);
  const ours = "701e34baf9cd0621e3d83f1ff25d29c82f2379c888a55527c416ac7cd66c2bd3";
  const theirs = hex("f5efc3014c592d1f89f0e615da20d3688123263702bf92e14d0de54140637483");
  same("our proof", text(await binding.prove(client, host)), ours);
  same("their proof", await binding.verify(client, host, theirs), true);
  same("our own proof sent back", await binding.verify(client, host, hex(ours)), false);
  same("a proof for other certificates", await binding.verify(host, client, theirs), false);

  // The link of docs/rendezvous.md, section 14.
  const parts = ["ctu3M2x2eAAj-D2kw1Xy7uqFczsT00d2l5F3kMEikIQ", "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8",
    "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8"];
  const link = `https://server.example/#v2.${parts.join(".")}`;
  const invite = parseInvite(` ${link}\n`);
  same("the link's server", invite.server, "https://server.example");
  same("the link's room", text(invite.room), room);
  same("the link's key", text(invite.hostKey), text(hostKey));
  same("the link's secret", text(invite.secret), text(from(0x40)));
  same("a link with a certificate", text(parseInvite(`${link}.${parts[0]}`).secret), text(from(0x40)));
  for (const wrong of ["", `${link}.${parts[0]}.${parts[0]}`, `${link}.${parts[0]}`.replace("https", "http"), link.slice(0, -1), link.replace("v2", "v1"), link.replace("#", ""), `${link}.x`,
    link.replace("https", "ftp"), link.replace("server.example", ""), link.slice(0, -1) + "9"]) {
    await refused(`the link ${wrong}`, () => parseInvite(wrong));
  }
  same("base64", toBase64(fromBase64("AQJQ7HQk3XtJ")), "AQJQ7HQk3XtJ");
  for (const wrong of ["A", "AB=", "AB+/", "AB", 7, null]) same(`base64 ${wrong}`, fromBase64(wrong), null);

  // docs/control.md, section 4: layouts.
  // Times of more than 53 bits do not occur, and JavaScript would round them.
  const pong = Uint8Array.from({ length: 57 }, (_, i) => (i === 0 ? 3 : [1, 2, 9, 10].includes(i) ? 0 : i));
  const { sentUs, receivedUs, newest } = control.parseControl(pong.buffer);
  same("a pong's times", `${sentUs} ${receivedUs}`, `${0x0304_05060708} ${0x0b0c_0d0e0f10}`);
  same("a pong's frame", text([newest.timestamp, newest.number, newest.sendQueueUs].map((n) => n >>> 24)), "111535");
  const words = (n) => text(new Uint8Array(new Uint32Array([n]).buffer).reverse());
  const told = { frame: 1, packets: 2, missed: 3, bytes: 4, queuedUs: 5, latencyUs: 2 ** 40 };
  const layout = `04${[1, 2, 3, 0, 4, 5].map(words).join("")}ffffffff`;
  same("a report", text(control.report(told)), layout);
  same("a ping", text(control.ping(258)), "020000000000000102");
  same("goodbye", text(control.goodbye()), "0504");

  // Control messages that make no sense do no harm.
  for (const data of [[], [1], [3, 0], [5], [9, 9, 9], new Array(2000).fill(3)]) {
    same(`control message ${data.slice(0, 3)}`, control.parseControl(Uint8Array.from(data).buffer), null);
  }
  return checked;
})();
