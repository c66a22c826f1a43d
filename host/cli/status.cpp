// How connections and their streams are, and running them now.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <set>

#include "base/exact_json.hpp"
#include "cli/context.hpp"
#include "cli/status_view.hpp"
#include "cli/wait.hpp"

namespace sluice::cli {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(1);
/// A host that is restarted is waited for; one that is gone is not.
constexpr auto kUnreachableMax = std::chrono::seconds(60);

json status_of(Client& client, const std::string& name) {
  json document;
  document["connections"] = json::array();
  if (!name.empty()) {
    document["connections"].push_back(client.get("/connections/" + Client::escape(name)));
    return document;
  }
  Query query;
  for (;;) {
    const json page = client.get("/connections", query);
    for (const json& connection : page["connections"])
      document["connections"].push_back(connection);
    document["work"] = page.value("work", json::array());
    if (!page.contains("next") || page["next"].is_null()) return document;
    query = {{"after", page["next"].get<std::string>()}};
  }
}

/// Shows the status every second until `is_over` says so, or the output is gone. A host that does
/// not answer is asked again for kUnreachableMax. False when `most` ran out first; zero: no limit.
bool watch(const Context& context, const std::string& name, std::chrono::seconds most,
           const std::function<bool(const json&)>& is_over) {
  Client client = context.client();
  Watch view(Watch::form_for_output(context.as_json));
  const auto began = std::chrono::steady_clock::now();
  auto answered = began;
  for (;;) {
    std::optional<json> document;
    try {
      document = status_of(client, name);
    } catch (const Failure& failure) {
      const bool may_pass = failure.error().kind == ErrorKind::retry_later;
      if (!may_pass || std::chrono::steady_clock::now() - answered > kUnreachableMax) throw;
      view.say(failure.error().message + "; trying again");
    }
    const auto now = std::chrono::steady_clock::now();
    if (document) {
      answered = now;
      view.show(*document);
      if (is_over(*document)) return true;
    }
    flush_output();
    if (!std::cout) return true;  // run() says so
    if (most.count() > 0 && now - began >= most) return false;
    pause_for(kLookEvery);
  }
}

Failure not_in_time(std::chrono::seconds most) {
  return Failure(Error(ErrorKind::retry_later, "status.not_quiet",
                       fmt::format("not everything was read within {} s", most.count())));
}

struct StatusOptions {
  std::string name;
  int wait_seconds = 0;
  bool watch = false;
  bool until_idle = false;
};

void show_status(Context& context, const StatusOptions& options) {
  const std::chrono::seconds most(options.wait_seconds);
  if (options.watch || options.until_idle) {
    bool trouble = false;
    const auto is_over = [&](const json& document) {
      trouble = has_trouble(document);
      return options.until_idle && is_quiet(document);
    };
    if (!watch(context, options.name, most, is_over)) throw not_in_time(most);
    if (options.until_idle && trouble) context.exit = kExitTrouble;
    return;
  }
  Client client = context.client();
  json document = status_of(client, options.name);
  const bool quiet = wait_until(most, [&] {
    if (is_quiet(document)) return true;
    document = status_of(client, options.name);
    return is_quiet(document);
  });
  if (context.as_json) {
    std::cout << write_json_lines(document) << '\n';
  } else {
    std::cout << status_text(document);
  }
  if (options.wait_seconds > 0 && !quiet) throw not_in_time(most);
}

struct SyncOptions {
  std::string name;
  std::vector<std::string> streams;
  bool full = false;
  bool trust_vendor = false;
  bool wait = false;
  int timeout_seconds = 0;
};

/// The streams of `document` that are in `names`, as a document of their own.
json only(const json& document, const std::set<std::string>& names) {
  json some = document;
  for (json& connection : some["connections"]) {
    json streams = json::array();
    for (const json& stream : connection["streams"]) {
      if (names.contains(stream["name"].get<std::string>())) streams.push_back(stream);
    }
    connection["streams"] = std::move(streams);
  }
  return some;
}

/// Of runs, which count up.
std::int64_t id_of(const json& text) { return std::stoll(text.get<std::string>()); }

/// A run that ended after the one that was the last before; a run that was merely interrupted is
/// not the end.
bool has_ended(const json& stream, std::int64_t last_before) {
  const std::int64_t last = stream["last_run"].is_null() ? 0 : id_of(stream["last_run"]);
  const std::string health = stream["health"];
  return last > last_before && stream["run"].is_null() && health != "waiting" &&
         health != "running" && health != "overdue";
}

void wait_for_sync(Context& context, const SyncOptions& options, const std::set<std::string>& asked,
                   const std::map<std::string, std::int64_t>& last_before) {
  bool trouble = false;
  const auto is_over = [&](const json& whole) {
    const json document = only(whole, asked);
    trouble = has_trouble(document);
    for (const json& stream : document["connections"][0]["streams"]) {
      const auto before = last_before.find(stream["name"].get<std::string>());
      if (!has_ended(stream, before == last_before.end() ? 0 : before->second)) return false;
    }
    // What the events named has to be read, too, but for what fails: that may take for ever.
    const json& refetch = document["connections"][0]["refetch"];
    const auto failing = refetch["failing"].get<std::int64_t>();
    trouble = trouble || failing > 0;
    return trouble || refetch["due"].get<std::int64_t>() == 0;
  };
  const std::chrono::seconds most(options.timeout_seconds);
  if (!watch(context, options.name, most, is_over)) throw not_in_time(most);
  if (trouble) {
    context.exit = kExitTrouble;
    std::cerr << "sluice: not everything went well; sluice errors says what\n";
  }
}

void sync_now(Context& context, const SyncOptions& options) {
  Client client = context.client();
  std::map<std::string, std::int64_t> last_before;
  if (options.wait) {
    const json before = status_of(client, options.name);
    for (const json& stream : before["connections"][0]["streams"]) {
      if (!stream["last_run"].is_null())
        last_before[stream["name"].get<std::string>()] = id_of(stream["last_run"]);
    }
  }
  json body;
  body["streams"] = options.streams;
  body["full"] = options.full;
  if (options.trust_vendor) body["trust_vendor"] = true;
  const json answer =
      client.send("POST", "/connections/" + Client::escape(options.name) + "/sync", body);
  if (!options.wait) {
    context.say(answer, "asked for " + cell(answer["streams"]));
    return;
  }
  const auto names = answer["streams"].get<std::vector<std::string>>();
  wait_for_sync(context, options, std::set<std::string>(names.begin(), names.end()), last_before);
}

}  // namespace

void add_sync(CLI::App& app, Context& context) {
  auto options = std::make_shared<SyncOptions>();
  auto* sync = app.add_subcommand("sync", "Run a connection's streams now");
  sync->add_option("connection", options->name)->required();
  sync->add_option("--stream", options->streams, "only these");
  auto* full = sync->add_flag("--full", options->full, "read everything again");
  sync->add_flag("--trust-vendor", options->trust_vendor,
                 "this one full read also overwrites rows of a higher version than the vendor's")
      ->needs(full);
  sync->add_flag("--wait", options->wait,
                 "show the progress until it is done; exit 75 when a stream fails");
  sync->add_option("--timeout", options->timeout_seconds,
                   "with --wait: so many seconds at most; exit 69 after them");
  sync->callback([&context, options] { sync_now(context, *options); });
}

void add_status(CLI::App& app, Context& context) {
  auto options = std::make_shared<StatusOptions>();
  auto* status = app.add_subcommand("status", "How connections and their streams are");
  status->add_option("connection", options->name, "all when there is none");
  status->add_option("--wait", options->wait_seconds,
                     "wait so many seconds until everything is read; exit 69 when it is not");
  status->add_flag("--watch", options->watch,
                   "every second: a picture on a terminal, else a line for each change");
  status->add_flag("--until-idle", options->until_idle,
                   "watch until nothing is left to do; exit 75 when a stream fails");
  status->callback([&context, options] { show_status(context, *options); });
}

}  // namespace sluice::cli
