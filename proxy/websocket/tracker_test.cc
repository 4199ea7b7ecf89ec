#include "proxy/websocket/tracker.h"

#include <gtest/gtest.h>

namespace sluice::websocket {
namespace {

FrameHead frame(Opcode opcode, bool fin = true, std::uint64_t payload_bytes = 1,
                std::uint8_t rsv = 0) {
  FrameHead head;
  head.opcode = opcode;
  head.fin = fin;
  head.payload_bytes = payload_bytes;
  head.rsv = rsv;
  return head;
}

TEST(MessageTracker, FollowsAFragmentedMessageWithAPingInside) {
  MessageTracker t(From::kServer);
  FrameStep step;
  ASSERT_EQ(t.step(frame(Opcode::kBinary, false, 10), step), FrameFault::kNone);
  EXPECT_TRUE(step.begins_message);
  EXPECT_FALSE(step.ends_message);
  EXPECT_EQ(step.opcode, Opcode::kBinary);
  EXPECT_TRUE(t.in_message());

  ASSERT_EQ(t.step(frame(Opcode::kPing, true, 125), step), FrameFault::kNone);
  EXPECT_TRUE(step.control);
  EXPECT_FALSE(step.begins_message || step.ends_message);
  EXPECT_EQ(step.opcode, Opcode::kPing);
  EXPECT_EQ(step.message_bytes, 125u);
  EXPECT_TRUE(t.in_message());

  ASSERT_EQ(t.step(frame(Opcode::kContinuation, false, 20), step), FrameFault::kNone);
  EXPECT_FALSE(step.control || step.begins_message || step.ends_message);
  ASSERT_EQ(t.step(frame(Opcode::kContinuation, true, 0), step), FrameFault::kNone);
  EXPECT_TRUE(step.ends_message);
  EXPECT_EQ(step.opcode, Opcode::kBinary);
  EXPECT_EQ(step.message_bytes, 30u);
  EXPECT_FALSE(t.in_message());

  ASSERT_EQ(t.step(frame(Opcode::kText, true, 7), step), FrameFault::kNone);
  EXPECT_TRUE(step.begins_message && step.ends_message);
  EXPECT_EQ(step.message_bytes, 7u);
}

TEST(MessageTracker, KnowsCompressedMessages) {
  MessageTracker t(From::kServer, true);
  FrameStep step;
  ASSERT_EQ(t.step(frame(Opcode::kText, false, 1, kRsv1), step), FrameFault::kNone);
  EXPECT_TRUE(step.compressed);
  ASSERT_EQ(t.step(frame(Opcode::kContinuation), step), FrameFault::kNone);
  EXPECT_TRUE(step.compressed);
  ASSERT_EQ(t.step(frame(Opcode::kText), step), FrameFault::kNone);
  EXPECT_FALSE(step.compressed);
  EXPECT_EQ(t.step(frame(Opcode::kPing, true, 0, kRsv1), step), FrameFault::kReservedBits);
}

TEST(MessageTracker, RefusesReservedBits) {
  FrameStep step;
  for (const std::uint8_t rsv : {1, 2, 3, 4, 5, 6, 7}) {
    MessageTracker plain(From::kServer);
    EXPECT_EQ(plain.step(frame(Opcode::kText, true, 1, rsv), step), FrameFault::kReservedBits);
    MessageTracker deflate(From::kServer, true);
    EXPECT_EQ(deflate.step(frame(Opcode::kText, true, 1, rsv), step),
              rsv == kRsv1 ? FrameFault::kNone : FrameFault::kReservedBits);
  }
  MessageTracker deflate(From::kServer, true);
  ASSERT_EQ(deflate.step(frame(Opcode::kText, false, 1, kRsv1), step), FrameFault::kNone);
  EXPECT_EQ(deflate.step(frame(Opcode::kContinuation, true, 1, kRsv1), step),
            FrameFault::kReservedBits);
}

TEST(MessageTracker, RefusesFragmentsOutOfOrder) {
  FrameStep step;
  MessageTracker t(From::kServer);
  EXPECT_EQ(t.step(frame(Opcode::kContinuation), step), FrameFault::kUnexpectedContinuation);
  ASSERT_EQ(t.step(frame(Opcode::kText, false), step), FrameFault::kNone);
  EXPECT_EQ(t.step(frame(Opcode::kText), step), FrameFault::kMessageUnfinished);
  EXPECT_EQ(t.step(frame(Opcode::kBinary, false), step), FrameFault::kMessageUnfinished);
}

TEST(MessageTracker, RefusesLongAndFragmentedControlFrames) {
  FrameStep step;
  for (const Opcode opcode : {Opcode::kClose, Opcode::kPing, Opcode::kPong}) {
    MessageTracker t(From::kServer);
    EXPECT_EQ(t.step(frame(opcode, true, 126), step), FrameFault::kControlTooLong);
    EXPECT_EQ(t.step(frame(opcode, false, 1), step), FrameFault::kControlFragmented);
  }
}

TEST(MessageTracker, WantsMasksFromClientsAlone) {
  FrameStep step;
  FrameHead masked = frame(Opcode::kText);
  masked.masked = true;
  MessageTracker client(From::kClient);
  MessageTracker server(From::kServer);
  EXPECT_EQ(client.step(masked, step), FrameFault::kNone);
  EXPECT_EQ(client.step(frame(Opcode::kPing), step), FrameFault::kMaskMissing);
  EXPECT_EQ(server.step(masked, step), FrameFault::kMaskForbidden);
}

TEST(MessageTracker, NeverLetsTheSizeOfAMessageWrap) {
  FrameStep step;
  MessageTracker t(From::kServer);
  const std::uint64_t most = (std::uint64_t{1} << 63) - 1;
  ASSERT_EQ(t.step(frame(Opcode::kBinary, false, most), step), FrameFault::kNone);
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(t.step(frame(Opcode::kContinuation, false, most), step), FrameFault::kNone);
    EXPECT_EQ(step.message_bytes, most);
  }
}

TEST(MessageTracker, GoesOnFromACopy) {
  FrameStep step;
  MessageTracker t(From::kServer);
  ASSERT_EQ(t.step(frame(Opcode::kText, false, 5), step), FrameFault::kNone);
  MessageTracker copy = t;
  ASSERT_EQ(copy.step(frame(Opcode::kContinuation, true, 6), step), FrameFault::kNone);
  EXPECT_EQ(step.message_bytes, 11u);
  EXPECT_TRUE(t.in_message());
}

TEST(FrameFault, HasWordsForEach) {
  for (int fault = 1; fault <= static_cast<int>(FrameFault::kMessageUnfinished); ++fault) {
    EXPECT_FALSE(text(static_cast<FrameFault>(fault)).empty());
  }
}

}  // namespace
}  // namespace sluice::websocket
