// Opening handshakes and frames that RFC 6455 and RFC 7692 decide on, as bytes. "6455 4.2.1" is a
// section; "A 3.1" a case of the Autobahn suite.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proxy/websocket/frame.h"
#include "proxy/websocket/handshake.h"
#include "proxy/websocket/tracker.h"

namespace sluice::conformance {

// ---- handshakes

using Lines = std::vector<std::string>;

// A good one, with lines of a name replaced by others: "Name" alone removes it.
inline std::string handshake(const Lines& changes, std::string start) {
  const bool response = start.starts_with("HTTP");
  Lines lines =
      response ? Lines{"Upgrade: websocket", "Connection: Upgrade",
                       "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}
               : Lines{"Host: h", "Upgrade: websocket", "Connection: Upgrade",
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"};
  const auto name = [](const std::string& line) { return line.substr(0, line.find(':')); };
  for (const std::string& change : changes) {
    std::erase_if(lines, [&](const std::string& line) { return name(line) == name(change); });
  }
  for (const std::string& change : changes) {
    if (change.find(':') != std::string::npos) {
      lines.push_back(change);
    }
  }
  for (const std::string& line : lines) {
    start += "\r\n" + line;
  }
  return start + "\r\n\r\n";
}

struct RequestCase {
  const char* name;
  const char* rule;
  std::string bytes;
  websocket::UpgradeOutcome outcome;
};

inline RequestCase asks(const char* name, const char* rule, const Lines& changes,
                        websocket::UpgradeOutcome outcome, const char* start = "GET /c HTTP/1.1") {
  return {name, rule, handshake(changes, start), outcome};
}

inline std::vector<RequestCase> handshake_requests() {
  constexpr auto kUpgrade = websocket::UpgradeOutcome::kUpgrade;
  constexpr auto kPlain = websocket::UpgradeOutcome::kNotUpgrade;
  constexpr auto kOther = websocket::UpgradeOutcome::kOtherVersion;
  constexpr auto kBad = websocket::UpgradeOutcome::kMalformed;
  return {
      asks("Good", "6455 4.2.1", {}, kUpgrade),
      asks("WithoutCase", "6455 4.2.1", {"Upgrade: WebSocket", "Connection: uPGRADE"}, kUpgrade),
      asks("FirefoxConnection", "6455 4.2.1: a list", {"Connection: keep-alive, Upgrade"},
           kUpgrade),
      asks("TwoConnectionFields", "9110 5.3: one list", {"Connection: x", "Connection: Upgrade"},
           kUpgrade),
      asks("UpgradeList", "6455 4.2.1: contains", {"Upgrade: h2c, websocket"}, kUpgrade),
      asks("BodyOfNoBytes", "9110 8.6", {"Content-Length: 0"}, kUpgrade),
      asks("Lists", "6455 4.1",
           {"Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: c",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; y=\"z\""},
           kUpgrade),
      asks("NoUpgrade", "behaviour.md: 426", {"Upgrade"}, kPlain),
      asks("OtherUpgrade", "behaviour.md: 426", {"Upgrade: h2c"}, kPlain),
      asks("UpgradeAlmost", "6455 4.2.1: the whole token", {"Upgrade: websockets"}, kPlain),
      asks("Http10", "9110 7.8: ignored in 1.0", {}, kPlain, "GET /c HTTP/1.0"),
      asks("Post", "6455 4.1: a GET", {}, kBad, "POST /c HTTP/1.1"),
      asks("Head", "6455 4.1", {}, kBad, "HEAD /c HTTP/1.1"),
      asks("NoConnection", "6455 4.2.1", {"Connection"}, kBad),
      asks("OtherConnection", "6455 4.2.1", {"Connection: close"}, kBad),
      asks("Version8", "6455 4.4", {"Sec-WebSocket-Version: 8"}, kOther),
      asks("Version255", "6455 11.6", {"Sec-WebSocket-Version: 255"}, kOther),
      asks("Version0WithoutKey", "6455 4.4: told before the key",
           {"Sec-WebSocket-Version: 0", "Sec-WebSocket-Key"}, kOther),
      asks("NoVersion", "6455 4.2.1", {"Sec-WebSocket-Version"}, kBad),
      asks("VersionList", "6455 4.1", {"Sec-WebSocket-Version: 13, 8"}, kBad),
      asks("TwoVersions", "6455 11.3.5: once",
           {"Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"}, kBad),
      asks("VersionTooLarge", "6455 11.6", {"Sec-WebSocket-Version: 256"}, kBad),
      asks("VersionWord", "6455 11.6", {"Sec-WebSocket-Version: new"}, kBad),
      asks("NoKey", "6455 4.2.1", {"Sec-WebSocket-Key"}, kBad),
      asks("KeyEmpty", "6455 4.2.1", {"Sec-WebSocket-Key:"}, kBad),
      asks("KeyOf15Bytes", "6455 4.2.1: 16 bytes", {"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"},
           kBad),
      asks("KeyOf17Bytes", "6455 4.2.1", {"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="}, kBad),
      asks("KeyWithoutPadding", "4648 4", {"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"}, kBad),
      asks("KeyNotBase64", "4648 4", {"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j_Q=="}, kBad),
      asks("TwoKeys", "6455 11.3.1: once",
           {"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
           kBad),
      asks("Body", "smuggling: a body that a 101 would turn into frames", {"Content-Length: 5"},
           kBad),
      asks("ChunkedBody", "smuggling", {"Transfer-Encoding: chunked"}, kBad),
      asks("ProtocolTwice", "6455 4.1: unique", {"Sec-WebSocket-Protocol: a, a"}, kBad),
      asks("ProtocolNotAToken", "6455 4.1", {"Sec-WebSocket-Protocol: a b"}, kBad),
      asks("ExtensionMalformed", "6455 9.1", {"Sec-WebSocket-Extensions: x; =y"}, kBad),
      asks("ExtensionQuotedNoToken", "6455 9.1", {"Sec-WebSocket-Extensions: x; y=\"a b\""}, kBad),
  };
}

struct ResponseCase {
  const char* name;
  const char* rule;
  std::string bytes;
  bool genuine;
  const char* extensions;  // offered
};

// Against the key of the RFC's example, sub-protocols "a" and "b".
inline ResponseCase answers(const char* name, const char* rule, const Lines& changes, bool genuine,
                            const char* extensions = "", const char* start = "HTTP/1.1 101 S") {
  return {name, rule, handshake(changes, start), genuine, extensions};
}

inline std::vector<ResponseCase> handshake_responses() {
  const char* deflate = "permessage-deflate; client_max_window_bits";
  return {
      answers("Good", "6455 4.1", {}, true),
      answers("WithoutCase", "6455 4.1", {"Upgrade: WebSocket", "Connection: upgrade"}, true),
      answers("Protocol", "6455 4.1", {"Sec-WebSocket-Protocol: b"}, true),
      answers("Deflate", "7692 7.1.3",
              {"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=10"}, true,
              deflate),
      answers("DeflateOfTheSecondOffer", "7692 5", {"Sec-WebSocket-Extensions: permessage-deflate"},
              true, "permessage-deflate; server_max_window_bits=10, permessage-deflate"),
      answers("Status200", "6455 4.1: 101 alone", {}, false, "", "HTTP/1.1 200 OK"),
      answers("Http10", "6455 4.1", {}, false, "", "HTTP/1.0 101 S"),
      answers("NoUpgrade", "6455 4.1", {"Upgrade"}, false),
      answers("OtherUpgrade", "6455 4.1", {"Upgrade: h2c"}, false),
      answers("UpgradeList", "6455 4.1: one value", {"Upgrade: websocket, h2c"}, false),
      answers("NoConnection", "6455 4.1", {"Connection"}, false),
      answers("NoAccept", "6455 4.1", {"Sec-WebSocket-Accept"}, false),
      answers("AcceptOfAnotherKey", "6455 4.1",
              {"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, false),
      answers("AcceptIsTheKey", "6455 4.1", {"Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ=="},
              false),
      answers("AcceptTwice", "6455 11.3.3: once",
              {"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
              false),
      answers("ProtocolNotOffered", "6455 4.1", {"Sec-WebSocket-Protocol: c"}, false),
      answers("ProtocolList", "6455 4.2.2: one", {"Sec-WebSocket-Protocol: a, b"}, false),
      answers("ProtocolTwice", "6455 11.3.4: once",
              {"Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"}, false),
      answers("ProtocolEmpty", "6455 4.1", {"Sec-WebSocket-Protocol:"}, false),
      answers("ExtensionNotOffered", "6455 4.1", {"Sec-WebSocket-Extensions: permessage-deflate"},
              false),
      answers("ExtensionMalformed", "6455 9.1", {"Sec-WebSocket-Extensions: permessage-deflate;"},
              false, deflate),
      answers("DeflateTwice", "7692 5: one",
              {"Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate"}, false, deflate),
      answers("DeflateUnknownParameter", "7692 7.1.3",
              {"Sec-WebSocket-Extensions: permessage-deflate; more"}, false, deflate),
      answers("DeflateWindowNotOffered", "7692 7.1.2.2",
              {"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=10"}, false,
              "permessage-deflate"),
      answers("DeflateWindowIgnored", "7692 7.1.2.1",
              {"Sec-WebSocket-Extensions: permessage-deflate"}, false,
              "permessage-deflate; server_max_window_bits=10"),
      answers("DeflateContextKept", "7692 7.1.1.1",
              {"Sec-WebSocket-Extensions: permessage-deflate"}, false,
              "permessage-deflate; server_no_context_takeover"),
  };
}

// ---- frames

inline constexpr websocket::MaskKey kMask{0x37, 0xfa, 0x21, 0x3d};

struct FrameCase {
  const char* name;
  const char* rule;
  websocket::From from;
  bool deflate;
  std::string bytes;
  int messages;    // data messages and control frames that come out
  int close_code;  // 0: all well; else how the connection is failed
};

inline std::string bytes(std::initializer_list<int> list) {
  std::string out;
  for (const int byte : list) {
    out += static_cast<char>(byte);
  }
  return out;
}

// From a client.
inline FrameCase client(const char* name, const char* rule, std::string bytes, int messages,
                        int code) {
  return {name, rule, websocket::From::kClient, false, std::move(bytes), messages, code};
}
inline FrameCase server(const char* name, const char* rule, std::string bytes, int messages,
                        int code) {
  return {name, rule, websocket::From::kServer, false, std::move(bytes), messages, code};
}
inline FrameCase deflating(const char* name, const char* rule, std::string bytes, int messages,
                           int code) {
  return {name, rule, websocket::From::kServer, true, std::move(bytes), messages, code};
}

inline std::vector<FrameCase> good_frames() {
  using websocket::make_frame;
  using websocket::Opcode;
  return {
      client("MaskedHello", "6455 5.7",
             bytes({0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}), 1, 0),
      server("Hello", "6455 5.7", "\x81\x05Hello", 1, 0),
      server("Fragmented", "6455 5.7", "\x01\x03Hel\x80\x02lo", 1, 0),
      server("Ping", "6455 5.7", "\x89\x05Hello", 1, 0),
      server("Binary256", "6455 5.7", make_frame(Opcode::kBinary, std::string(256, 'x')), 1, 0),
      server("Binary64K", "6455 5.7", make_frame(Opcode::kBinary, std::string(65536, 'x')), 1, 0),
      server("Length125", "A 1.1.2", make_frame(Opcode::kText, std::string(125, '*')), 1, 0),
      server("Length126", "A 1.1.3", make_frame(Opcode::kText, std::string(126, '*')), 1, 0),
      server("Length65535", "A 1.1.6", make_frame(Opcode::kText, std::string(65535, '*')), 1, 0),
      server("Empty", "A 1.1.1", bytes({0x81, 0x00}), 1, 0),
      server("EmptyFragments", "A 6.1.2", bytes({0x01, 0x00, 0x00, 0x00, 0x80, 0x00}), 1, 0),
      server("PingOf125", "A 2.4", make_frame(Opcode::kPing, std::string(125, '\xfe')), 1, 0),
      server("UnaskedPong", "A 2.7", bytes({0x8a, 0x00}), 1, 0),
      server("PingBetweenFragments", "A 5.6", "\x01\x03Hel\x89\x01p\x80\x02lo", 2, 0),
      server("Utf8CutByFragments", "A 6.4: a character may span frames", "\x01\x01\xc3\x80\x01\xa9",
             1, 0),
      server("CloseEmpty", "A 7.3.1", bytes({0x88, 0x00}), 1, 0),
      server("CloseWithReason", "A 7.3.4",
             "\x88\x05\x03\xe8"
             "bye",
             1, 0),
      server("DataAfterClose", "6455 5.5.1: ignored", "\x88\x02\x03\xe8\x81\x01x", 1, 0),
      deflating("Compressed", "7692 7.2.3.1",
                bytes({0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}), 1, 0),
      deflating("CompressedFragments", "7692 7.2.3.1: RSV1 on the first alone",
                bytes({0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00}), 1, 0),
      deflating("NotCompressed", "7692 6.1: by message", "\x81\x05Hello", 1, 0),
  };
}

inline std::vector<FrameCase> bad_frames() {
  using websocket::make_frame;
  using websocket::Opcode;
  std::vector<FrameCase> out = {
      client("ClientWithoutMask", "6455 5.1", "\x81\x05Hello", 0, 1002),
      server("ServerWithMask", "6455 5.1", make_frame(Opcode::kText, "Hello", true, kMask), 0,
             1002),
      client("PingWithoutMask", "6455 5.1", bytes({0x89, 0x00}), 0, 1002),
      server("Rsv1", "A 3.4", bytes({0xc1, 0x00}), 0, 1002),
      server("Rsv2", "A 3.2", bytes({0xa1, 0x00}), 0, 1002),
      server("Rsv3", "A 3.1", bytes({0x91, 0x00}), 0, 1002),
      server("Rsv1OnClose", "A 3.7", bytes({0xc8, 0x00}), 0, 1002),
      deflating("Rsv1OnPing", "7692 6: data frames alone", bytes({0xc9, 0x00}), 0, 1002),
      deflating("Rsv1OnContinuation", "7692 6.1", bytes({0x41, 0x00, 0xc0, 0x00}), 0, 1002),
      deflating("Rsv2WithDeflate", "7692 6", bytes({0xe1, 0x00}), 0, 1002),
      server("PingOf126", "A 2.5", make_frame(Opcode::kPing, std::string(126, 'x')), 0, 1002),
      server("PingFragmented", "A 5.1", bytes({0x09, 0x00}), 0, 1002),
      server("PongFragmented", "A 5.2", bytes({0x0a, 0x00}), 0, 1002),
      server("CloseFragmented", "6455 5.5", bytes({0x08, 0x00}), 0, 1002),
      server("ContinuationOfNothing", "A 5.9", "\x80\x01x", 0, 1002),
      server("ContinuationAfterTheEnd", "A 5.12", "\x81\x01x\x80\x01x", 1, 1002),
      server("MessageInsideAnother", "A 5.18", "\x01\x01x\x81\x01x", 0, 1002),
      server("LengthOver16Bits", "6455 5.2: shortest form", bytes({0x82, 0x7e, 0x00, 0x7d}), 0,
             1002),
      server("LengthOver64Bits", "6455 5.2: shortest form",
             bytes({0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff}), 0, 1002),
      server("LengthTopBit", "6455 5.2", bytes({0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0}), 0, 1002),
      server("LengthBeyondTheBound", "behaviour.md: 1009",
             bytes({0x82, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), 0, 1009),
      server("CloseOfOneByte", "A 7.3.2", bytes({0x88, 0x01, 0x03}), 0, 1002),
      server("CloseOf126Bytes", "A 7.3.6",
             make_frame(Opcode::kClose, "\x03\xe8" + std::string(124, 'x')), 0, 1002),
      server("CloseReasonNotUtf8", "A 7.5.1", bytes({0x88, 0x03, 0x03, 0xe8, 0xff}), 0, 1002),
      server("TextNotUtf8", "A 6.3.1", bytes({0x81, 0x01, 0xff}), 0, 1007),
      server("TextSurrogate", "A 6.3", bytes({0x81, 0x03, 0xed, 0xa0, 0x80}), 0, 1007),
      server("TextOverlong", "A 6.11", bytes({0x81, 0x02, 0xc0, 0xaf}), 0, 1007),
      server("TextAbove10FFFF", "A 6.4.1", bytes({0x81, 0x04, 0xf4, 0x90, 0x80, 0x80}), 0, 1007),
      server("TextEndsInsideACharacter", "A 6.6", bytes({0x81, 0x01, 0xc3}), 0, 1007),
      server("TextWrongInAnUnfinishedMessage", "A 6.4: at once", bytes({0x01, 0x01, 0xff}), 0,
             1007),
  };
  return out;
}

// A 7.7 and 7.9: which codes a close frame may carry.
inline std::vector<int> good_close_codes() {
  return {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
          1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
}
inline std::vector<int> bad_close_codes() {
  return {0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535};
}

}  // namespace sluice::conformance
