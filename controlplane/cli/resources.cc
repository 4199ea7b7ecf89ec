// Resources in their declarative form: apply, diff, export, get, delete, explain.
#include <fmt/core.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "controlplane/cli/commands.h"
#include "controlplane/cli/explain.h"
#include "controlplane/cli/kinds.h"
#include "proxy/config/manifest.h"

namespace sluice::controlplane::cli {
namespace {

namespace fs = std::filesystem;

// A file, `-` (stdin), or all .yaml, .yml and .json files below a folder, in order of their names.
absl::StatusOr<std::vector<config::Manifest>> load(const std::string& path) {
  if (path == "-") {
    std::string text;
    char buffer[65536];
    while (const std::size_t size = std::fread(buffer, 1, sizeof buffer, stdin)) {
      text.append(buffer, size);
    }
    config::ManifestFile parsed = config::parse_manifests(text, "stdin");
    config::read_references(parsed);
    return config::whole(std::move(parsed));
  }
  if (!fs::is_directory(path)) {
    SLUICE_ASSIGN_OR_RETURN(config::ManifestFile parsed, config::parse_manifest_file(path));
    return config::whole(std::move(parsed));
  }
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    const std::string extension = entry.path().extension();
    if (entry.is_regular_file() &&
        (extension == ".yaml" || extension == ".yml" || extension == ".json")) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  config::ManifestFile all;
  for (const std::string& file : files) {
    SLUICE_ASSIGN_OR_RETURN(config::ManifestFile some, config::parse_manifest_file(file));
    std::move(some.manifests.begin(), some.manifests.end(), std::back_inserter(all.manifests));
    std::move(some.faults.begin(), some.faults.end(), std::back_inserter(all.faults));
  }
  return config::whole(std::move(all));
}

absl::StatusOr<boost::json::array> manifests_of(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const std::vector<config::Manifest> manifests, load(path));
  boost::json::array out;
  for (const config::Manifest& manifest : manifests) {
    std::string spec;
    const auto status = google::protobuf::util::MessageToJsonString(manifest.spec, &spec);
    if (!status.ok()) {
      return internal_error(std::string(status.message()));
    }
    boost::json::object labels;
    for (const auto& [key, value] : manifest.labels) {
      labels[key] = value;
    }
    out.push_back(
        boost::json::object{{"kind", manifest.kind},
                            {"name", manifest.name},
                            {"labels", labels},
                            {"spec", boost::json::parse(spec)},
                            {"source", fmt::format("{}:{}", manifest.file, manifest.line)}});
  }
  return out;
}

struct ApplyFlags {
  std::string file;
  bool prune = false;
  std::string owner;
  bool dry_run = false;
  std::string wait;
};

std::string describe(const boost::json::array& changes) {
  std::string out;
  for (const boost::json::value& change : changes) {
    std::string action = text_at(change, "action");
    std::transform(action.begin(), action.end(), action.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    out += fmt::format("{:10} {} {}\n", action, text_at(change, "kind"), text_at(change, "name"));
    if (const auto* lines = change.get_object().if_contains("differences")) {
      for (const boost::json::value& line : lines->get_array()) {
        out += fmt::format("             {}\n", std::string(line.get_string()));
      }
    }
  }
  return out.empty() ? "nothing to do\n" : out;
}

boost::json::array changes_of(const boost::json::object& answer) {
  const auto* changes = answer.if_contains("changes");
  return changes != nullptr ? changes->get_array() : boost::json::array();
}

absl::Status wait_rollout(Context& context, const std::string& revision, const std::string& time) {
  std::int64_t seconds_max = 30;
  if (!time.empty() && std::isdigit(static_cast<unsigned char>(time[0])) != 0) {
    seconds_max = std::stoll(time);
  }
  SLUICE_ASSIGN_OR_RETURN(Door * door, context.door());
  door->set_timeout(seconds(seconds_max + 5));
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object status,
                          context.call("RolloutService/Wait", {{"revision", revision},
                                                               {"group", "default"},
                                                               {"timeoutMs", seconds_max * 1000}}));
  if (text_at(status, "complete") == "yes") {
    const auto* proxies = status.if_contains("proxies");
    const bool any =
        proxies != nullptr && std::any_of(proxies->get_array().begin(), proxies->get_array().end(),
                                          [](const boost::json::value& proxy) {
                                            return text_at(proxy, "state") != "AWAY";
                                          });
    context.print(any ? "in force on every connected proxy\n"
                      : "no proxy is connected: it is in force as soon as one comes (`sluicectl "
                        "join-token create` lets one in)\n");
    return absl::OkStatus();
  }
  return deadline_exceeded("not in force everywhere yet:\n" + show_rollout(status));
}

absl::Status apply(Context& context, const ApplyFlags& flags) {
  if (flags.prune && flags.owner.empty()) {
    return invalid_argument("--prune needs --owner LABEL: what it may delete");
  }
  SLUICE_ASSIGN_OR_RETURN(const boost::json::array manifests, manifests_of(flags.file));
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                          context.call("ResourceService/Apply", {{"manifests", manifests},
                                                                 {"prune", flags.prune},
                                                                 {"owner", flags.owner},
                                                                 {"dryRun", flags.dry_run}}));
  if (context.format() != Format::kTable) {
    context.print(show_value(context.format(), answer));
  } else {
    context.print(describe(changes_of(answer)));
    if (flags.dry_run) {
      context.print("dry run: nothing was changed\n");
      return absl::OkStatus();
    }
    context.print(fmt::format("revision {}\n", text_at(answer, "revision")));
  }
  return flags.wait.empty() ? absl::OkStatus()
                            : wait_rollout(context, text_at(answer, "revision"), flags.wait);
}

absl::Status diff(Context& context, const std::string& file) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::array manifests, manifests_of(file));
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                          context.call("ResourceService/Diff", {{"manifests", manifests}}));
  context.print(context.format() == Format::kTable ? describe(changes_of(answer))
                                                   : show_value(context.format(), answer));
  return absl::OkStatus();
}

absl::StatusOr<std::string> yaml_of(const boost::json::value& manifest) {
  config::Manifest out;
  out.kind = text_at(manifest, "kind");
  out.name = text_at(manifest, "name");
  if (const auto* labels = manifest.get_object().if_contains("labels")) {
    for (const auto& [key, value] : labels->get_object()) {
      out.labels[std::string(key)] = std::string(value.get_string());
    }
  }
  const auto* spec = manifest.get_object().if_contains("spec");
  const std::string json = spec != nullptr ? boost::json::serialize(*spec) : "{}";
  const auto status = google::protobuf::util::JsonStringToMessage(json, &out.spec);
  if (!status.ok()) {
    return internal_error(std::string(status.message()));
  }
  return config::to_yaml(out);
}

absl::Status export_all(Context& context, const std::string& folder) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                          context.call("ResourceService/Export", {}));
  const auto* manifests = answer.if_contains("manifests");
  std::size_t count = 0;
  for (const boost::json::value& manifest :
       manifests != nullptr ? manifests->get_array() : boost::json::array()) {
    SLUICE_ASSIGN_OR_RETURN(const std::string yaml, yaml_of(manifest));
    if (folder.empty()) {
      context.print("---\n" + yaml);
      continue;
    }
    const fs::path path = fs::path(folder) / text_at(manifest, "kind");
    std::error_code ignored;
    fs::create_directories(path, ignored);
    std::string name = text_at(manifest, "name");
    std::replace(name.begin(), name.end(), ':', '_');
    std::ofstream out(path / (name + ".yaml"));
    out << yaml;
    if (!out.flush()) {
      return unavailable(fmt::format("{}: cannot be written", (path / (name + ".yaml")).string()));
    }
    ++count;
  }
  if (!folder.empty()) {
    context.print(fmt::format("{} resources written to {}\n", count, folder));
  }
  return absl::OkStatus();
}

absl::Status get(Context& context, const std::string& word, const std::string& name) {
  SLUICE_ASSIGN_OR_RETURN(const KindView* kind, find_kind(word));
  if (name.empty()) {
    SLUICE_ASSIGN_OR_RETURN(Door * door, context.door());
    SLUICE_ASSIGN_OR_RETURN(const boost::json::array rows,
                            door->list(fmt::format("{0}Service/List{0}", kind->name)));
    context.print(show_rows(context.format(), rows, kind->columns));
    return absl::OkStatus();
  }
  SLUICE_ASSIGN_OR_RETURN(
      const boost::json::object row,
      context.call(fmt::format("{0}Service/Get{0}", kind->name), {{"name", name}}));
  const Format format = context.format() == Format::kTable ? Format::kYaml : context.format();
  context.print(show_value(format, row));
  return absl::OkStatus();
}

absl::Status remove(Context& context, const std::string& word, const std::string& name,
                    bool cascade) {
  SLUICE_ASSIGN_OR_RETURN(const KindView* kind, find_kind(word));
  SLUICE_ASSIGN_OR_RETURN(const boost::json::object answer,
                          context.call(fmt::format("{0}Service/Delete{0}", kind->name),
                                       {{"name", name}, {"cascade", cascade}}));
  context.print(
      fmt::format("{} {} deleted (revision {})\n", kind->name, name, text_at(answer, "revision")));
  return absl::OkStatus();
}

void add_apply(CLI::App& app, Context& context) {
  auto flags = std::make_shared<ApplyFlags>();
  CLI::App* command = app.add_subcommand("apply", "Create and update resources: all or nothing");
  command->add_option("-f", flags->file, "a file, a folder, or - (stdin)")->required();
  command->add_flag("--prune", flags->prune, "delete what has label owner=LABEL and is not there");
  command->add_option("--owner", flags->owner, "LABEL for --prune");
  command->add_flag("--dry-run", flags->dry_run, "check and show only");
  command->add_option("--wait", flags->wait, "until every proxy has it, e.g. --wait=30s")
      ->expected(0, 1)
      ->default_str("30s");
  on_run(command, context, [&context, flags, command] {
    if (command->count("--wait") > 0 && flags->wait.empty()) {
      flags->wait = "30s";
    }
    return apply(context, *flags);
  });
  auto file = std::make_shared<std::string>();
  CLI::App* compare = app.add_subcommand("diff", "What apply would change");
  compare->add_option("-f", *file)->required();
  on_run(compare, context, [&context, file] { return diff(context, *file); });
  auto folder = std::make_shared<std::string>();
  CLI::App* save = app.add_subcommand("export", "All resources as YAML, without secrets");
  save->add_option("-o", *folder, "a folder to write to, one file each");
  on_run(save, context, [&context, folder] { return export_all(context, *folder); });
}

}  // namespace

void add_resources(CLI::App& app, Context& context) {
  add_apply(app, context);
  struct Names {
    std::string kind;
    std::string name;
    bool cascade = false;
  };
  auto got = std::make_shared<Names>();
  CLI::App* show = app.add_subcommand("get", "Show resources of a kind, or one of them");
  show->add_option("KIND", got->kind)->required();
  show->add_option("NAME", got->name);
  on_run(show, context, [&context, got] { return get(context, got->kind, got->name); });
  auto gone = std::make_shared<Names>();
  CLI::App* erase = app.add_subcommand("delete", "Delete a resource");
  erase->add_option("KIND", gone->kind)->required();
  erase->add_option("NAME", gone->name)->required();
  erase->add_flag("--cascade", gone->cascade, "delete also what refers to it");
  on_run(erase, context,
         [&context, gone] { return remove(context, gone->kind, gone->name, gone->cascade); });
  auto field = std::make_shared<std::string>();
  CLI::App* help = app.add_subcommand("explain", "What a kind or one of its fields means");
  help->add_option("KIND[.FIELD]", *field)->required();
  on_run(help, context, [&context, field]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const std::string text, explain(*field));
    context.print(text);
    return absl::OkStatus();
  });
}

}  // namespace sluice::controlplane::cli
