// How connections and their streams are, and running them now.
#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <set>

#include "base/exact_json.hpp"
#include "cli/context.hpp"
#include "cli/keys.hpp"
#include "cli/screen.hpp"
#include "cli/status_view.hpp"
#include "cli/wait.hpp"

namespace sluice::cli {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(1);
/// Where a wait is not shown by a line that moves.
constexpr auto kSayEvery = std::chrono::seconds(10);
constexpr long kLinesMany = 1'000'000;
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
    for (const json& connection : page.at("connections"))
      document["connections"].push_back(connection);
    document["work"] = page.value("work", json::array());
    document["own_types"] = page.value("own_types", json::array());
    if (!page.contains("next") || page.at("next").is_null()) return document;
    query = {{"after", page.at("next").get<std::string>()}};
  }
}

/// What is looked at: one connection or all, and how it is shown.
struct Looking {
  std::string name;
  Watch::Shows shows = Watch::Shows::streams;
  /// What of the document is shown and judged; empty: all of it.
  std::function<json(const json&)> pick;
};

bool on_key(Watch& view, Key key) {
  switch (key) {
    case Key::up:
      view.scroll(-1);
      break;
    case Key::down:
      view.scroll(1);
      break;
    case Key::page_up:
      view.scroll(-Watch::page_lines());
      break;
    case Key::page_down:
      view.scroll(Watch::page_lines());
      break;
    case Key::home:
      view.scroll(-kLinesMany);
      break;
    case Key::end:
      view.scroll(kLinesMany);
      break;
    case Key::quit:
      return false;
  }
  return true;
}

/// How a wait goes: a line that moves on a terminal, else one now and then, on standard error.
class Progress {
 public:
  ~Progress() { clear(); }
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& text) {
    if (moves_) {
      std::cerr << "\r" << cut_lines(text, screen_columns(STDERR_FILENO) - 1) << "\x1b[K"
                << std::flush;
      drawn_ = true;
      return;
    }
    const auto now = std::chrono::steady_clock::now();
    if (said_at_ && now - *said_at_ < kSayEvery) return;
    said_at_ = now;
    std::cerr << "sluice: " << text << std::endl;
  }
  void clear() {
    if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
    drawn_ = false;
  }

 private:
  const bool moves_ = ::isatty(STDERR_FILENO) != 0;
  bool drawn_ = false;
  std::optional<std::chrono::steady_clock::time_point> said_at_;
};

/// Asks every second until `is_over` says so, or the output is gone, and has `show` say how it is.
/// A host that does not answer is asked again for kUnreachableMax. False when `most` ran out first;
/// zero: no limit.
bool follow(const Context& context, const Looking& looking, std::chrono::seconds most,
            const std::function<void(const json&)>& show,
            const std::function<void(const std::string&)>& say, const std::function<bool()>& pause,
            const std::function<bool(const json&)>& is_over) {
  Client client = context.client();
  const auto began = std::chrono::steady_clock::now();
  auto answered = began;
  for (;;) {
    std::optional<json> document;
    try {
      document = status_of(client, looking.name);
    } catch (const Failure& failure) {
      const bool may_pass = failure.error().kind == ErrorKind::retry_later;
      if (!may_pass || std::chrono::steady_clock::now() - answered > kUnreachableMax) throw;
      const json host = ask_host(context);
      const bool knows = cannot_work(host) && !host.at("reasons").empty();
      say((knows ? cell(host.at("reasons").at(0).at("what")) : failure.error().message) +
          "; trying again");
    }
    const auto now = std::chrono::steady_clock::now();
    if (document) {
      answered = now;
      if (looking.pick) document = looking.pick(*document);
      show(*document);
      if (is_over(*document)) return true;
    }
    flush_output();
    if (!std::cout) return true;  // run() says so
    if (most.count() > 0 && now - began >= most) return false;
    if (!pause()) return true;
  }
}

/// Shows it every second, as Watch does.
bool watch(const Context& context, const Looking& looking, std::chrono::seconds most,
           const std::function<bool(const json&)>& is_over) {
  const Watch::Form form = Watch::form_for_output(context.as_json);
  Watch view(form, looking.shows);
  std::optional<Keys> keys;
  if (form == Watch::Form::picture) keys.emplace();
  const auto pause = [&] {
    if (keys) return keys->wait(kLookEvery, [&view](Key key) { return on_key(view, key); });
    pause_for(kLookEvery);
    return true;
  };
  const bool over = follow(
      context, looking, most, [&view](const json& document) { view.show(document); },
      [&view](const std::string& text) { view.say(text); }, pause, is_over);
  if (form == Watch::Form::picture) std::cout << '\n';
  return over;
}

/// Shows only how far it is.
bool wait_for(const Context& context, const Looking& looking, std::chrono::seconds most,
              const std::function<bool(const json&)>& is_over) {
  Progress progress;
  const auto pause = [] {
    pause_for(kLookEvery);
    return true;
  };
  return follow(
      context, looking, most,
      [&progress](const json& document) { progress.show(progress_line(document)); },
      [&progress](const std::string& text) { progress.show(text); }, pause, is_over);
}

Failure not_in_time(std::chrono::seconds most) {
  return Failure(Error(ErrorKind::retry_later, "status.not_quiet",
                       fmt::format("not everything was read within {} s", most.count())));
}

struct StatusOptions {
  std::string name;
  int wait_seconds = 0;
  bool streams = false;
  bool watch = false;
  bool until_idle = false;
};

/// With what the host says of itself, where it was asked.
void print_status(const Context& context, const StatusOptions& options, json document,
                  const json& host = nullptr) {
  if (context.as_json) {
    print_json(document);
    return;
  }
  if (host.is_object()) document["host_reasons"] = host.at("reasons");
  Screen screen = screen_of_output();
  const bool streams = options.streams || !options.name.empty();
  std::cout << (streams ? streams_text(document, screen) : summary_text(document, screen));
}

void show_status(Context& context, const StatusOptions& options) {
  const std::chrono::seconds most(options.wait_seconds);
  Looking looking;
  looking.name = options.name;
  if (!options.streams && options.name.empty()) looking.shows = Watch::Shows::connections;
  json last;
  bool trouble = false;
  if (options.watch || options.until_idle) {
    const auto is_over = [&](const json& document) {
      trouble = has_trouble(document);
      return options.until_idle && is_quiet(document);
    };
    if (!watch(context, looking, most, is_over)) throw not_in_time(most);
    if (options.until_idle && trouble) context.exit = kExitTrouble;
    return;
  }
  if (options.wait_seconds == 0) {
    Client client = context.client();
    const json host = ask_host(context);
    if (cannot_work(host)) {
      std::cout << (context.as_json ? for_screen(write_json_lines(host)) + "\n"
                                    : reasons_text(host));
      context.exit = kExitUnavailable;
      return;
    }
    print_status(context, options, status_of(client, options.name), host);
    return;
  }
  const auto is_over = [&](const json& document) {
    last = document;
    return is_quiet(document);
  };
  const bool quiet = wait_for(context, looking, most, is_over);
  if (!last.is_null()) print_status(context, options, last);
  if (!quiet) throw not_in_time(most);
  if (has_trouble(last)) context.exit = kExitTrouble;
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
  for (json& connection : some.at("connections")) {
    json streams = json::array();
    auto put_aside = connection.value("quarantined", std::int64_t{0});
    for (const json& stream : connection.at("streams")) {
      if (names.contains(stream.at("name").get<std::string>())) {
        streams.push_back(stream);
      } else {
        put_aside -= stream.value("quarantined", std::int64_t{0});
      }
    }
    connection["quarantined"] = put_aside;
    connection["streams"] = std::move(streams);
    json problems = json::array();
    for (const json& problem : connection.value("problems", json::array())) {
      const json subjects = problem.value("subjects", json::array());
      const bool is_theirs = std::any_of(subjects.begin(), subjects.end(), [&](const json& one) {
        return names.contains(one.get<std::string>());
      });
      if (is_theirs) problems.push_back(problem);
    }
    connection["problems"] = std::move(problems);
  }
  return some;
}

/// Of runs, which count up.
std::int64_t id_of(const json& text) { return std::stoll(text.get<std::string>()); }

/// A run that ended after the one that was the last before; a run that was merely interrupted is
/// not the end.
bool has_ended(const json& stream, std::int64_t last_before) {
  const std::int64_t last = stream.at("last_run").is_null() ? 0 : id_of(stream.at("last_run"));
  const std::string health = stream.at("health");
  return last > last_before && stream.at("run").is_null() && health != "waiting" &&
         health != "running" && health != "overdue";
}

void wait_for_sync(Context& context, const SyncOptions& options, const std::set<std::string>& asked,
                   const std::map<std::string, std::int64_t>& last_before) {
  bool trouble = false;
  Looking looking;
  looking.name = options.name;
  looking.pick = [&asked](const json& whole) { return only(whole, asked); };
  const auto is_over = [&](const json& document) {
    trouble = has_trouble(document);
    for (const json& stream : document.at("connections").at(0).at("streams")) {
      const auto before = last_before.find(stream.at("name").get<std::string>());
      if (!has_ended(stream, before == last_before.end() ? 0 : before->second)) return false;
    }
    // What the events named has to be read, too, but for what fails: that may take for ever.
    const json& refetch = document.at("connections").at(0).at("refetch");
    const auto failing = refetch.at("failing").get<std::int64_t>();
    trouble = trouble || failing > 0;
    return trouble || refetch.at("due").get<std::int64_t>() == 0;
  };
  const std::chrono::seconds most(options.timeout_seconds);
  if (!watch(context, looking, most, is_over)) throw not_in_time(most);
  if (trouble) {
    context.exit = kExitTrouble;
    std::cerr << "sluice: not everything went well; sluice errors says what\n";
  }
}

/// "asked for 21 streams: charges, coupons, customers, …; sluice status billing shows them"
std::string asked_for(const json& streams, const std::string& connection) {
  constexpr std::size_t kNamed = 3;
  std::string names;
  for (std::size_t i = 0; i < streams.size() && i < kNamed; ++i)
    names += (names.empty() ? "" : ", ") + cell(streams.at(i));
  return fmt::format(
      "asked for {} stream{}: {}{}\nsluice status {} shows them, --wait waits for them",
      streams.size(), streams.size() == 1 ? "" : "s", names, streams.size() > kNamed ? ", …" : "",
      connection);
}

void sync_now(Context& context, const SyncOptions& options) {
  Client client = context.client();
  std::map<std::string, std::int64_t> last_before;
  if (options.wait) {
    const json before = status_of(client, options.name);
    for (const json& stream : before.at("connections").at(0).at("streams")) {
      if (!stream.at("last_run").is_null())
        last_before[stream.at("name").get<std::string>()] = id_of(stream.at("last_run"));
    }
  }
  json body;
  body["streams"] = options.streams;
  body["full"] = options.full;
  if (options.trust_vendor) body["trust_vendor"] = true;
  const json answer =
      client.send("POST", "/connections/" + Client::escape(options.name) + "/sync", body);
  if (!options.wait) {
    context.say(answer, asked_for(answer.at("streams"), options.name));
    return;
  }
  const auto names = answer.at("streams").get<std::vector<std::string>>();
  wait_for_sync(context, options, std::set<std::string>(names.begin(), names.end()), last_before);
}

/// As CLI11 asks: empty where it is one.
std::string seconds_not_negative(const std::string& text) {
  return text.starts_with('-') ? "takes 0 seconds or more, and '" + text + "' is less" : "";
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
                 "show the progress until it is done; exit 75 when a stream fails, or records of "
                 "it are put aside");
  sync->add_option("--timeout", options->timeout_seconds,
                   "with --wait: so many seconds at most; exit 69 after them")
      ->check(CLI::Validator(seconds_not_negative, ""));
  sync->callback([&context, options] { sync_now(context, *options); });
}

void add_status(CLI::App& app, Context& context) {
  auto options = std::make_shared<StatusOptions>();
  auto* status = app.add_subcommand("status", "How connections and their streams are");
  status->add_option("connection", options->name, "all when there is none");
  status
      ->add_option("--wait", options->wait_seconds,
                   "wait so many seconds until everything is read; exit 69 when it is not, 75 "
                   "when a stream could not be, or records are put aside")
      ->check(CLI::Validator(seconds_not_negative, ""));
  status->add_flag("--streams", options->streams, "a line a stream, also of all connections");
  status->add_flag("--watch", options->watch,
                   "every second: a picture on a terminal (arrows scroll, q ends), else a line for "
                   "each change");
  status->add_flag("--until-idle", options->until_idle,
                   "watch until nothing is left to do; exit 75 as --wait");
  status->callback([&context, options] { show_status(context, *options); });
}

}  // namespace sluice::cli
