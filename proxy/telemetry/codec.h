// Records as bytes, for the spool alone. The form is this program's own: its version stands in each
// segment's head.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proxy/telemetry/sink.h"

namespace sluice::telemetry {

inline constexpr std::uint32_t kCodecVersion = 2;

// Appends the record's body, without its epoch.
void encode(const NumberedRecord& record, std::string& out);
// None if the bytes are not exactly one record.
std::optional<NumberedRecord> decode(std::string_view bytes);

// A frame in a segment: length and checksum (4 bytes each, little endian), then the body.
inline constexpr std::size_t kFrameHeadBytes = 8;
inline constexpr std::size_t kFrameBodyBytesMax = 64 * 1024;
void append_frame(const NumberedRecord& record, std::string& out);

// Takes a frame's body off the front of `bytes`. None: they end within the frame, or it is damaged.
std::optional<std::string_view> take_frame(std::string_view& bytes);

}  // namespace sluice::telemetry
