#include "proxy/websocket/extensions.h"

#include <gtest/gtest.h>

namespace sluice::websocket {
namespace {

Extension deflate(std::string_view parameters) {
  const auto list = parse_extensions("permessage-deflate" + std::string(parameters));
  EXPECT_TRUE(list && list->size() == 1) << parameters;
  return list->front();
}

TEST(Extensions, AreParsedFromAllFields) {
  http::Headers h;
  h.add("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits , x;a=1;b=\"2\"");
  h.add("sec-websocket-extensions", ", y,");
  const auto list = parse_extensions(h);
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 3u);
  EXPECT_EQ((*list)[0].parameters[0].name, "client_max_window_bits");
  EXPECT_FALSE((*list)[0].parameters[0].value);
  EXPECT_EQ((*list)[1].parameters[1].value, "2");
  EXPECT_EQ(format_extensions(*list), "permessage-deflate; client_max_window_bits, x; a=1; b=2, y");
  EXPECT_EQ(parse_extensions(format_extensions(*list)), list);
  EXPECT_TRUE(parse_extensions(http::Headers())->empty());
}

TEST(Extensions, AreRefusedWhenMalformed) {
  for (const char* bad : {"a b", "a;", "a;;b", "a;=1", "a;b=", "a;b=\"", "a;b=\"\"", "a;b=\"x y\"",
                          ";a", "a=1", "\"a\"", "a;b=1 c", "a/b"}) {
    EXPECT_FALSE(parse_extensions(std::string_view(bad))) << bad;
  }
}

TEST(Subprotocols, AreAListOfDifferentTokens) {
  http::Headers h;
  EXPECT_TRUE(parse_subprotocols(h)->empty());
  h.add("Sec-WebSocket-Protocol", "sluice.bearer, tok_en-1");
  h.add("Sec-WebSocket-Protocol", "chat");
  const auto list = parse_subprotocols(h);
  ASSERT_TRUE(list);
  EXPECT_EQ(format_subprotocols(*list), "sluice.bearer, tok_en-1, chat");
  h.add("Sec-WebSocket-Protocol", "chat");
  EXPECT_FALSE(parse_subprotocols(h));
  h.set("Sec-WebSocket-Protocol", "a b");
  EXPECT_FALSE(parse_subprotocols(h));
}

TEST(Deflate, ParametersOfAnOffer) {
  const auto p = parse_deflate(
      deflate("; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits"),
      false);
  ASSERT_TRUE(p);
  EXPECT_TRUE(p->server_no_context_takeover);
  EXPECT_FALSE(p->client_no_context_takeover);
  EXPECT_EQ(p->server_max_window_bits, 10);
  EXPECT_TRUE(p->client_max_window_bits_any);
  EXPECT_EQ(
      parse_deflate(deflate("; client_max_window_bits=\"15\""), false)->client_max_window_bits, 15);
  EXPECT_FALSE(parse_deflate(Extension{"x-webkit-deflate-frame", {}}, false));
}

TEST(Deflate, ParametersOutOfPlaceAreRefused) {
  for (const char* bad :
       {"; unknown", "; server_no_context_takeover=1",
        "; server_no_context_takeover; "
        "server_no_context_takeover",
        "; server_max_window_bits", "; server_max_window_bits=7", "; server_max_window_bits=16",
        "; server_max_window_bits=08", "; client_max_window_bits=1",
        "; client_max_window_bits=8; client_max_window_bits=8",
        "; client_max_window_bits; client_max_window_bits=8",
        "; client_max_window_bits=8; client_max_window_bits"}) {
    EXPECT_FALSE(parse_deflate(deflate(bad), false)) << bad;
    EXPECT_FALSE(parse_deflate(deflate(bad), true)) << bad;
  }
  EXPECT_FALSE(parse_deflate(deflate("; client_max_window_bits"), true)) << "no value in an answer";
}

TEST(Deflate, AnAnswerMustFitTheOffer) {
  const struct {
    const char* offer;
    const char* answer;
    bool fits;
  } cases[] = {
      {"", "", true},
      {"", "; server_no_context_takeover; client_no_context_takeover", true},
      {"; server_no_context_takeover", "", false},
      {"; client_no_context_takeover", "", true},
      {"", "; server_max_window_bits=9", true},
      {"; server_max_window_bits=10", "", false},
      {"; server_max_window_bits=10", "; server_max_window_bits=11", false},
      {"; server_max_window_bits=10", "; server_max_window_bits=10", true},
      {"", "; client_max_window_bits=10", false},
      {"; client_max_window_bits", "; client_max_window_bits=10", true},
      {"; client_max_window_bits=9", "; client_max_window_bits=10", false},
      {"; client_max_window_bits=9", "; client_max_window_bits=9", true},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(deflate_answers(*parse_deflate(deflate(c.offer), false),
                              *parse_deflate(deflate(c.answer), true)),
              c.fits)
        << c.offer << " / " << c.answer;
  }
}

TEST(Deflate, StateFollowsTheAnswer) {
  EXPECT_FALSE(deflate_state({}).on);
  const DeflateState kept = deflate_state({deflate("")});
  EXPECT_TRUE(kept.on && kept.client_keeps_context && kept.server_keeps_context);
  const DeflateState half = deflate_state({deflate("; server_no_context_takeover")});
  EXPECT_TRUE(half.client_keeps_context);
  EXPECT_FALSE(half.server_keeps_context);
}

TEST(Deflate, ContextsAreGivenUpOnBothSides) {
  Extensions offer = *parse_extensions(
      std::string_view("permessage-deflate; client_max_window_bits, x, permessage-deflate; "
                       "server_no_context_takeover"));
  reset_contexts_in_offer(offer);
  EXPECT_EQ(format_extensions(offer),
            "permessage-deflate; client_max_window_bits; server_no_context_takeover; "
            "client_no_context_takeover, x, permessage-deflate; server_no_context_takeover; "
            "client_no_context_takeover");
  // The backend must reset its own context, and says nothing of the client's: the client is told
  // to.
  Extensions answer{deflate("; server_no_context_takeover")};
  reset_client_context_in_answer(answer);
  const DeflateState state = deflate_state(answer);
  EXPECT_TRUE(state.on);
  EXPECT_FALSE(state.client_keeps_context || state.server_keeps_context);
  reset_client_context_in_answer(answer);
  EXPECT_TRUE(parse_deflate(answer[0], true)) << "added once";
}

}  // namespace
}  // namespace sluice::websocket
