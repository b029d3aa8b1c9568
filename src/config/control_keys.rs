//! The keys of call control: the event socket, Asterisk's media server, and the admin server.
//!
//! Runs in: anywhere: pure. Owns its part of the registry; [`super::keys`] joins the parts. Never reads anything.
//! Invariant: as in [`super::keys`].

use super::base_url::BaseUrl;
use super::model::Config;
use super::registry::{Key, Kind, integer, text};
use super::setters::{
    application, header_secret, name_of, path, seconds, set_admin_listen, set_contexts, set_dial_string,
    set_variables,
};

/// See the head of this file.
pub(super) const CONTROL_KEYS: &[Key<Config>] = &[
    Key::<Config>::new(
        "control.variables",
        "[]",
        Kind::List {
            form: "names of channel variables such as \"hold_music\" (separated by commas outside the file)",
            set: set_variables,
        },
        "Channel variables that may be set beside those whose names begin with tandem_.",
    ),
    Key::<Config>::new(
        "control.transfer_contexts",
        r#"["default", "public"]"#,
        Kind::List {
            form: "names of contexts of the dialplan such as \"default\" (separated by commas outside the file)",
            set: set_contexts,
        },
        "Contexts into which the API may transfer a call over the event socket; for our script vars_tandem.xml has the same list.",
    ),
    Key::<Config>::new(
        "esl.host",
        "",
        text("a host name or IP address such as \"127.0.0.1\"", |c, v| {
            c.esl.host = v.map(|v| name_of(Some(v), "-.:_")).transpose()?;
            Ok(())
        }),
        "FreeSWITCH's event socket, for call control where our script is not on the line, and for outbound calls. Off \
         when not set.",
    )
    .environment(&["FREESWITCH_ESL_HOST"])
    .example(r#""127.0.0.1""#),
    Key::<Config>::new("esl.port", "8021", integer(1, 65_535, |c, v| c.esl.port = v as u16), "Its TCP port.")
        .environment(&["FREESWITCH_ESL_PORT"]),
    Key::<Config>::new(
        "esl.password",
        "",
        Kind::Secret {
            form: "the password of event_socket.conf.xml, without white space",
            set: |c, v| header_secret(v).map(|password| c.esl.password = password),
        },
        "Its password. FreeSWITCH's own default, ClueCon, when not set.",
    )
    .environment(&["FREESWITCH_ESL_PASSWORD"])
    .example(r#""your-password""#),
    Key::<Config>::new(
        "esl.dial_string",
        "",
        text("a dial string with {to} once, such as \"sofia/gateway/provider/{to}\"", set_dial_string),
        "How outbound calls are dialled; {to} is the number asked for. Outbound calls are off when not set.",
    )
    .example(r#""sofia/gateway/provider/{to}""#),
    Key::<Config>::new(
        "esl.answered_application",
        r#""lua(start_audio_stream.lua ws://127.0.0.1:9094 mono 16k)""#,
        text("an application with its arguments, as in \"lua(script.lua arguments)\"", |c, v| {
            c.esl.answered_application = application(v)?;
            Ok(())
        }),
        "What FreeSWITCH runs on an outbound call that was answered: what connects it to this relay.",
    ),
    Key::<Config>::new(
        "esl.answer_seconds",
        "60",
        integer(5, 600, |c, v| c.esl.answer_timeout = seconds(v)),
        "How long an outbound call may ring.",
    ),
    Key::<Config>::new(
        "asterisk.media_url",
        "",
        text("a URL such as \"ws://127.0.0.1:8088/media/\"; beyond loopback and private addresses wss://", |c, v| {
            c.asterisk.media_url = v.map(BaseUrl::parse_of_switch).transpose()?;
            Ok(())
        }),
        "Asterisk's HTTP server, for Dial(WebSocket/INCOMING): where the relay connects to when POST /api/connect asks for \
         it. Off when not set.",
    )
    .example(r#""ws://127.0.0.1:8088/media/""#),
    Key::<Config>::new(
        "admin.listen",
        r#""127.0.0.1:9095""#,
        text("an address and port such as \"127.0.0.1:9095\", or nothing to switch it off", set_admin_listen),
        "Address of the admin server: page, API, metrics, health, call control. On any address but loopback \
         admin.token is required.",
    ),
    Key::<Config>::new(
        "admin.token",
        "",
        Kind::Secret {
            form: "16 or more letters, digits or marks without white space",
            set: |c, v| header_secret(v).map(|token| c.admin.token = token),
        },
        "A secret that requests to the admin server must present: Authorization: Bearer TOKEN, or X-Tandem-Token.",
    )
    .example(r#""a-long-random-text""#),
    Key::<Config>::new(
        "admin.token_file",
        "",
        text("the path of a file with the token alone", |c, v| {
            c.admin.token_file = path(v);
            Ok(())
        }),
        "A file that holds admin.token, which counts where that is not set itself: for other programs to read it too.",
    )
    .example(r#""/etc/tandem/admin-token""#),
    Key::<Config>::new(
        "admin.tls_certificate",
        "",
        text("the path of a PEM file", |c, v| {
            c.admin.tls_certificate = path(v);
            Ok(())
        }),
        "Certificate chain for https:// in place of http://, together with admin.tls_key. A browser gives its microphone to \
         pages of https:// and of this machine only.",
    )
    .example(r#""/etc/tandem/tls/fullchain.pem""#),
    Key::<Config>::new(
        "admin.tls_key",
        "",
        text("the path of a PEM file", |c, v| {
            c.admin.tls_key = path(v);
            Ok(())
        }),
        "Private key of admin.tls_certificate, without a passphrase.",
    )
    .example(r#""/etc/tandem/tls/privkey.pem""#),
];
