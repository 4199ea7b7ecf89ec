// The commands of the product's story: publish, subscribe, get keys and tokens, revoke.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>

#include "controlplane/cli/commands.h"
#include "proxy/base/encoding.h"
#include "proxy/http/target.h"

namespace sluice::controlplane::cli {
namespace {

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

absl::Status done(Context& context, const absl::StatusOr<boost::json::object>& answer,
                  std::string text) {
  SLUICE_RETURN_IF_ERROR(answer.status());
  context.print(context.format() == Format::kTable
                    ? text + fmt::format(" (revision {})\n", text_at(*answer, "revision"))
                    : show_value(context.format(), *answer));
  return absl::OkStatus();
}

void add_api(CLI::App& app, Context& context) {
  CLI::App* api = app.add_subcommand("api", "Change an API's lifecycle state");
  api->require_subcommand(1);
  for (const char* action :
       {"publish", "prototype", "block", "republish", "deprecate", "retire", "demote"}) {
    struct Flags {
      std::string name;
      bool deprecate_old = false;
      bool resubscribe = false;
    };
    auto flags = std::make_shared<Flags>();
    CLI::App* command = api->add_subcommand(action, fmt::format("{} the API", action));
    command->add_option("NAME", flags->name)->required();
    if (std::string_view(action) == "publish") {
      command->add_flag("--deprecate-old-versions", flags->deprecate_old,
                        "deprecate the API's older versions");
      command->add_flag("--require-resubscription", flags->resubscribe,
                        "do not copy older versions' subscriptions");
    }
    on_run(command, context, [&context, flags, action] {
      const auto answer = context.call("ApiService/ChangeApiState",
                                       {{"name", flags->name},
                                        {"action", action},
                                        {"deprecateOldVersions", flags->deprecate_old},
                                        {"requireResubscription", flags->resubscribe}});
      return done(context, answer,
                  answer.ok()
                      ? fmt::format("api {} is {}", flags->name, text_at(*answer, "api.spec.state"))
                      : "");
    });
  }
}

void add_application(CLI::App& app, Context& context) {
  CLI::App* application = app.add_subcommand("app", "Applications");
  application->require_subcommand(1);
  struct Flags {
    std::string name;
    std::string plan = "Unlimited";
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* create = application->add_subcommand("create", "Make an application");
  create->add_option("NAME", flags->name)->required();
  create->add_option("--plan", flags->plan, "application plan")->capture_default_str();
  on_run(create, context, [&context, flags] {
    const auto answer =
        context.call("ApplicationService/CreateApplication",
                     {{"application", {{"name", flags->name}, {"spec", {{"plan", flags->plan}}}}}});
    return done(context, answer, fmt::format("application {} created", flags->name));
  });
}

struct SubscriptionFlags {
  std::string application;
  std::string api;
  std::string plan;
  std::string name() const { return application + ":" + api; }
};

CLI::App* add_pair(CLI::App* parent, const char* name, const char* help,
                   const std::shared_ptr<SubscriptionFlags>& flags) {
  CLI::App* command = parent->add_subcommand(name, help);
  command->add_option("APP", flags->application)->required();
  command->add_option("API", flags->api)->required();
  return command;
}

absl::Status change_plan(Context& context, const SubscriptionFlags& flags) {
  SLUICE_ASSIGN_OR_RETURN(
      boost::json::object subscription,
      context.call("SubscriptionService/GetSubscription", {{"name", flags.name()}}));
  subscription["spec"].as_object()["plan"] = flags.plan;
  const auto answer =
      context.call("SubscriptionService/UpdateSubscription", {{"subscription", subscription}});
  return done(context, answer, fmt::format("subscription {} is on {}", flags.name(), flags.plan));
}

void add_subscriptions(CLI::App& app, Context& context) {
  auto flags = std::make_shared<SubscriptionFlags>();
  CLI::App* subscribe = add_pair(&app, "subscribe", "Subscribe an application to an API", flags);
  subscribe->add_option("--plan", flags->plan, "one of the API's plans")->required();
  on_run(subscribe, context, [&context, flags] {
    const boost::json::object spec{
        {"application", flags->application}, {"api", flags->api}, {"plan", flags->plan}};
    const auto answer = context.call("SubscriptionService/CreateSubscription",
                                     {{"subscription", {{"name", flags->name()}, {"spec", spec}}}});
    if (absl::IsAlreadyExists(answer.status())) {
      return absl::Status(
          absl::StatusCode::kAlreadyExists,
          to_absl(fmt::format("{}; its plan is changed by `sluicectl subscription plan {} {} "
                              "--plan {}`",
                              message_of(answer.status()), flags->application, flags->api,
                              flags->plan)));
    }
    return done(context, answer,
                fmt::format("{} may use {} on {}", flags->application, flags->api, flags->plan));
  });
  CLI::App* subscription = app.add_subcommand("subscription", "Block, unblock or change the plan");
  subscription->require_subcommand(1);
  for (const auto& [verb, status] :
       {std::pair{"block", "BLOCKED"}, std::pair{"unblock", "UNBLOCKED"}}) {
    auto pair = std::make_shared<SubscriptionFlags>();
    on_run(add_pair(subscription, verb, "acts on live connections within a second", pair), context,
           [&context, pair, status = std::string(status)] {
             const auto answer = context.call("SubscriptionService/ChangeSubscriptionStatus",
                                              {{"name", pair->name()}, {"status", status}});
             return done(context, answer,
                         fmt::format("subscription {} is {}", pair->name(), status));
           });
  }
  auto plan = std::make_shared<SubscriptionFlags>();
  CLI::App* change = add_pair(subscription, "plan", "put it on another plan", plan);
  change->add_option("--plan", plan->plan)->required();
  on_run(change, context, [&context, plan] { return change_plan(context, *plan); });
}

void add_keys(CLI::App& app, Context& context) {
  CLI::App* keys = app.add_subcommand("keys", "An application's keys");
  keys->require_subcommand(1);
  struct Flags {
    std::string application;
    std::string type = "production";
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* generate = keys->add_subcommand(
      "generate", "Make a consumer key and secret; new ones revoke the tokens of the old");
  generate->add_option("APP", flags->application)->required();
  generate->add_option("--type", flags->type, "production or sandbox")
      ->check(CLI::IsMember({"production", "sandbox"}))
      ->capture_default_str();
  on_run(generate, context, [&context, flags]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(
        const boost::json::object answer,
        context.call("CredentialService/GenerateKeys",
                     {{"application", flags->application}, {"keyType", upper(flags->type)}}));
    context.print(context.format() == Format::kTable
                      ? fmt::format("consumer key:    {}\nconsumer secret: {}\n"
                                    "The secret is shown once; keep it.\n",
                                    text_at(answer, "consumerKey"),
                                    text_at(answer, "consumerSecret"))
                      : show_value(context.format(), answer));
    return absl::OkStatus();
  });
}

struct TokenFlags {
  std::string application;
  std::string type = "production";
  std::string key;
  std::string secret;
  std::vector<std::string> scopes;
};

// As an application would: the token endpoint with the client's own key and secret.
absl::StatusOr<boost::json::object> token_by_grant(Context& context, const TokenFlags& flags) {
  SLUICE_ASSIGN_OR_RETURN(const std::string secret, read_secret(flags.secret));
  http::Form form{{"grant_type", "client_credentials"}};
  std::string scope;
  for (const std::string& one : flags.scopes) {
    scope += (scope.empty() ? "" : " ") + one;
  }
  if (!scope.empty()) {
    form.emplace_back("scope", scope);
  }
  http::Headers headers;
  headers.add("Content-Type", "application/x-www-form-urlencoded");
  headers.add("Authorization", "Basic " + base64(http::percent_encode(flags.key) + ":" +
                                                 http::percent_encode(secret)));
  SLUICE_ASSIGN_OR_RETURN(Door * door, context.door());
  SLUICE_ASSIGN_OR_RETURN(const Reply reply,
                          door->request("POST", "/oauth2/token", headers, http::format_form(form)));
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(reply.body, error);
  if (error || !value.is_object()) {
    return unavailable(fmt::format("the token endpoint answered {}", reply.status));
  }
  if (reply.status != 200) {
    return invalid_argument(
        fmt::format("{}: {}{}", text_at(value, "error"), text_at(value, "error_description"),
                    text_at(value, "error") == "invalid_client"
                        ? " Check key and secret, or make new ones: `sluicectl keys generate APP`."
                        : ""));
  }
  return std::move(value.get_object());
}

absl::Status token(Context& context, const TokenFlags& flags) {
  absl::StatusOr<boost::json::object> answer;
  if (!flags.key.empty()) {
    answer = token_by_grant(context, flags);
  } else if (!flags.application.empty()) {
    boost::json::array scopes;
    for (const std::string& scope : flags.scopes) {
      scopes.emplace_back(scope);
    }
    answer = context.call(
        "TokenService/IssueToken",
        {{"application", flags.application}, {"keyType", upper(flags.type)}, {"scopes", scopes}});
  } else {
    return invalid_argument("give an application, or --key and --secret");
  }
  SLUICE_RETURN_IF_ERROR(answer.status());
  const std::string by_grant = text_at(*answer, "access_token");
  context.print(context.format() == Format::kTable
                    ? (by_grant.empty() ? text_at(*answer, "accessToken") : by_grant) + "\n"
                    : show_value(context.format(), *answer));
  return absl::OkStatus();
}

void add_token(CLI::App& app, Context& context) {
  auto flags = std::make_shared<TokenFlags>();
  CLI::App* command = app.add_subcommand("token", "Get an access token, or revoke tokens");
  command->add_option("APP", flags->application, "application, as an operator");
  command->add_option("--type", flags->type, "production or sandbox")
      ->check(CLI::IsMember({"production", "sandbox"}))
      ->capture_default_str();
  command->add_option("--key", flags->key, "consumer key, as the application itself");
  command->add_option("--secret", flags->secret, "consumer secret: `-` (stdin), `@FILE`");
  command->add_option("--scope", flags->scopes);
  struct Revoke {
    std::string token;
    std::string application;
    std::string connection;
  };
  auto revoke = std::make_shared<Revoke>();
  CLI::App* sub = command->add_subcommand("revoke", "its connections close within a second");
  sub->add_option("TOKEN", revoke->token, "the token itself: `-` (stdin), `@FILE`");
  sub->add_option("--app", revoke->application, "all tokens of the application");
  sub->add_option("--connection", revoke->connection, "the token that opened the connection");
  command->callback([&context, flags, sub] {
    if (!sub->parsed()) {
      context.finish(token(context, *flags));
    }
  });
  on_run(sub, context, [&context, revoke]() -> absl::Status {
    SLUICE_ASSIGN_OR_RETURN(const std::string text, read_secret(revoke->token));
    const auto answer =
        context.call("TokenService/RevokeToken", {{"token", text},
                                                  {"application", revoke->application},
                                                  {"connection", revoke->connection}});
    return done(context, answer,
                answer.ok() ? fmt::format("{} revoked", text_at(*answer, "revoked")) : "");
  });
}

}  // namespace

void add_story(CLI::App& app, Context& context) {
  add_api(app, context);
  add_application(app, context);
  add_subscriptions(app, context);
  add_keys(app, context);
  add_token(app, context);
}

}  // namespace sluice::controlplane::cli
