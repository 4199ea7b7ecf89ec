#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>

#include "proxy/config/build.h"
#include "proxy/config/text.h"

namespace sluice::config {
std::string canonical(const google::protobuf::Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    message.SerializePartialToCodedStream(&out);
  }
  return bytes;
}

nanoseconds read_duration(const google::protobuf::Duration& value, const DurationRule& rule,
                          std::string_view field, Faults& faults) {
  constexpr std::int64_t kSecondsMax = 315'360'000;  // ten years, so that sums never overflow
  const bool sane = value.seconds() >= 0 && value.seconds() <= kSecondsMax && value.nanos() >= 0 &&
                    value.nanos() < 1'000'000'000;
  const nanoseconds read =
      sane ? seconds(value.seconds()) + nanoseconds(value.nanos()) : nanoseconds(-1);
  if (rule.zero && read == nanoseconds::zero()) {
    return read;
  }
  if (read < rule.min || read > rule.max) {
    faults.add(std::string(field),
               fmt::format("must be {} to {}{}", format_duration(rule.min),
                           format_duration(rule.max), rule.zero ? ", or 0s" : ""));
    return rule.min;
  }
  return read;
}

std::vector<CompiledFilter> read_filters(
    const google::protobuf::RepeatedPtrField<v1::FilterConfig>& specs,
    const std::vector<CompiledFilter>& old, const CompileContext& context, Faults& faults) {
  std::vector<CompiledFilter> filters;
  for (int i = 0; i < specs.size(); ++i) {
    const v1::FilterConfig& spec = specs[i];
    const std::string field = fmt::format("spec.filters[{}]", i);
    CompiledFilter compiled{spec.name(), canonical(spec.config()), nullptr};
    if (std::any_of(filters.begin(), filters.end(),
                    [&](const CompiledFilter& f) { return f.name == spec.name(); })) {
      faults.add(field + ".name", fmt::format("{} stands twice", spec.name()));
      continue;
    }
    for (const CompiledFilter& known : old) {
      if (known.name == compiled.name && known.settings == compiled.settings) {
        compiled.factory = known.factory;
      }
    }
    if (compiled.factory == nullptr) {
      auto made = context.registry.make(spec.name(), spec.config(), context.shared);
      if (!made.ok()) {
        const bool unknown = absl::IsNotFound(made.status());
        faults.add(field + (unknown ? ".name" : ".config"), std::string(message_of(made.status())));
        continue;
      }
      compiled.factory = *std::move(made);
    }
    filters.push_back(std::move(compiled));
  }
  return filters;
}

void check_group(const std::string& group, std::string_view field, Faults& faults) {
  if (!is_name(group)) {
    faults.add(std::string(field),
               fmt::format("'{}' is no name of a gateway group: {}", group, kNameRule));
  }
}

}  // namespace sluice::config
