// From a commit to the reader of the REST feed: a whole host in a process of its own, writers of
// own entities in one workspace at a given pace, and one follower that asks again and again. And a
// reader of one type, who has to pass what others wrote.
#include <fmt/format.h>
#include <libpq-fe.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bench/parts/figures.hpp"
#include "cli/client.hpp"

namespace sluice::bench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int kWriters = 4;
constexpr int kForeign = 1'000'000;
constexpr std::chrono::milliseconds kPoll{5};  ///< between two looks that found nothing

/// A fresh sluiced with a private PostgreSQL; killed, and its directory removed, at the end.
class Host {
 public:
  explicit Host(const std::string& program) {
    std::string pattern = "/tmp/slbfXXXXXX";  // short: a Unix socket lies below
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no directory");
    directory_ = pattern;
    fs::permissions(directory_, static_cast<fs::perms>(0711));
    const std::string second = launch(program);
    const std::string file = after(second, "operator token: in ");
    std::ifstream(file.substr(0, file.find(" ("))) >> options_.token;
    options_.workspace = "acme";
    stop();
    // When each transaction was committed: asked afterwards.
    std::ofstream(directory_ / "data/postgres/local.conf") << "track_commit_timestamp = on\n";
    launch(program);
  }
  ~Host() {
    stop();
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  [[nodiscard]] const cli::ClientOptions& options() const { return options_; }
  /// Position of each change -> when it was committed, µs since the epoch.
  [[nodiscard]] std::map<std::int64_t, std::int64_t> commits() const {
    const std::string conninfo =
        "host=" + (directory_ / "data/run").string() + " user=sluice dbname=sluice";
    const std::unique_ptr<PGconn, void (*)(PGconn*)> connection(PQconnectdb(conninfo.c_str()),
                                                                PQfinish);
    const std::unique_ptr<PGresult, void (*)(PGresult*)> rows(
        PQexec(connection.get(),
               "select position, (extract(epoch from pg_xact_commit_timestamp(xmin)) * "
               "1000000)::bigint from sluice.change"),
        PQclear);
    if (PQresultStatus(rows.get()) != PGRES_TUPLES_OK)
      throw std::runtime_error(PQerrorMessage(connection.get()));
    std::map<std::int64_t, std::int64_t> all;
    for (int row = 0; row < PQntuples(rows.get()); ++row)
      all[std::stoll(PQgetvalue(rows.get(), row, 0))] = std::stoll(PQgetvalue(rows.get(), row, 1));
    return all;
  }

 private:
  /// Returns the second line that it prints; "" when that is none of a first start.
  std::string launch(const std::string& program) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("no pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      ::dup2(ends[1], STDOUT_FILENO);
      if (std::freopen((directory_ / "log").c_str(), "a", stderr) == nullptr) ::_exit(126);
      ::execl(program.c_str(), "sluiced", "--data", (directory_ / "data").c_str(), "--listen",
              "127.0.0.1:0", "--set", "workspace.default=acme", nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    options_.url = after(line(ends[0]), "listening on ");
    std::string second;
    if (options_.token.empty()) second = line(ends[0]);
    ::close(ends[0]);
    return second;
  }
  void stop() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  static std::string line(int from) {
    std::string text;
    for (char c = 0; ::read(from, &c, 1) == 1 && c != '\n';) text.push_back(c);
    return text;
  }
  static std::string after(const std::string& text, std::string_view words) {
    const auto at = text.find(words);
    if (at == std::string::npos) throw std::runtime_error("the host does not start: " + text);
    return text.substr(at + words.size());
  }

  fs::path directory_;
  pid_t pid_ = -1;
  cli::ClientOptions options_;
};

/// Microseconds since the epoch of "2026-11-26T20:35:41.123456Z".
std::int64_t micros_of(const std::string& text) {
  std::tm day{};
  double seconds = 0;
  if (std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%lfZ", &day.tm_year, &day.tm_mon, &day.tm_mday,
                  &day.tm_hour, &day.tm_min, &seconds) != 6)
    throw std::runtime_error("no time: " + text);
  day.tm_year -= 1900;
  day.tm_mon -= 1;
  return ::timegm(&day) * std::int64_t{1'000'000} + static_cast<std::int64_t>(seconds * 1e6);
}

std::int64_t now_micros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// One page: a row by POST, or rows by an import.
void write_page(cli::Client& client, int rows, const std::string& mark) {
  if (rows == 1) {
    client.send("POST", "/entities/customer", {{"email", mark + "@example.org"}, {"plan", "team"}});
    return;
  }
  std::string lines;
  for (int row = 0; row < rows; ++row)
    lines += fmt::format("{{\"email\":\"{}r{}@example.org\",\"plan\":\"team\"}}\n", mark, row);
  client.upload("/types/customer/import", {{"format", "ndjson"}, {"key", "email"}},
                "application/x-ndjson", [&] { return std::exchange(lines, std::string()); });
}

struct Pace {
  const char* name;
  int pages_per_s;
  int rows;
};

void write_at(const Host& host, const Pace& pace, int writer, Clock::time_point begin,
              Clock::time_point end) {
  cli::Client client(host.options());
  const auto every = std::chrono::nanoseconds(1'000'000'000) * kWriters / pace.pages_per_s;
  auto next = begin + every * writer / kWriters;
  for (int n = 0; next < end; ++n, next += every) {
    std::this_thread::sleep_until(next);
    write_page(client, pace.rows, fmt::format("{}w{}n{}", pace.name, writer, n));
  }
}

double part(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<std::size_t>(static_cast<double>(sorted.size() - 1) * share)];
}

json measure(const Host& host, const Pace& pace, double seconds) {
  cli::Client follower(host.options());
  std::string cursor;
  for (bool more = true; more;) {
    const json page = follower.get("/changes", {{"cursor", cursor}, {"limit", "1000"}});
    cursor = page.at("cursor").get<std::string>();
    more = page.at("has_more").get<bool>();
  }
  const auto begin = Clock::now() + std::chrono::milliseconds(200);
  const auto end =
      begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  std::atomic<int> writing = kWriters;
  std::vector<std::jthread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&host, &pace, &writing, writer, begin, end] {
      write_at(host, pace, writer, begin, end);
      --writing;
    });
  }
  std::vector<std::pair<std::int64_t, std::int64_t>> seen_at;  // position, µs
  std::vector<double> appended_ms;
  std::int64_t position = 0;
  for (;;) {
    const bool last = writing == 0;
    const json page = follower.get("/changes", {{"cursor", cursor}, {"limit", "1000"}});
    const std::int64_t seen = now_micros();
    cursor = page.at("cursor").get<std::string>();
    for (const json& change : page.at("changes")) {
      appended_ms.push_back(
          static_cast<double>(seen - micros_of(change.at("at").get<std::string>())) / 1e3);
      const auto at = change.at("position").get<std::int64_t>();
      if (position != 0 && at != position + 1) throw std::runtime_error("a position is missing");
      position = at;
      seen_at.emplace_back(at, seen);
    }
    if (!page.at("changes").empty()) continue;
    if (last) break;
    std::this_thread::sleep_for(kPoll);
  }
  const auto wanted = static_cast<std::size_t>(seconds * pace.pages_per_s * pace.rows * 0.95);
  const std::map<std::int64_t, std::int64_t> commits = host.commits();
  std::vector<double> late_ms;
  for (const auto& [at, seen] : seen_at)
    late_ms.push_back(static_cast<double>(seen - commits.at(at)) / 1e3);
  std::sort(late_ms.begin(), late_ms.end());
  std::sort(appended_ms.begin(), appended_ms.end());
  json figures;
  figures["changes"] = late_ms.size();
  figures["kept_pace"] = late_ms.size() >= wanted;
  figures["p50_ms"] = part(late_ms, 0.5);
  figures["p99_ms"] = part(late_ms, 0.99);
  figures["max_ms"] = part(late_ms, 1);
  figures["appended_p99_ms"] = part(appended_ms, 0.99);
  fmt::print("{} pages/s of {} rows: {}\n", pace.pages_per_s, pace.rows, figures.dump());
  return figures;
}

/// One change of "lead" behind so many of "customer": what each poll of a reader of leads takes.
json read_past(const Host& host, cli::Client& admin, int foreign) {
  int written = 0;
  admin.upload("/types/customer/import", {{"format", "ndjson"}, {"key", "email"}},
               "application/x-ndjson", [&] {
                 std::string lines;
                 for (int row = 0; row < 1000 && written < foreign; ++row, ++written)
                   lines += fmt::format("{{\"email\":\"f{}@example.org\"}}\n", written);
                 return lines;
               });
  admin.send("POST", "/entities/lead", {{"email", "one@example.org"}});
  cli::Client reader(host.options());
  std::vector<double> took_ms;
  std::size_t found = 0;
  std::string cursor;
  for (bool more = true; more;) {
    const auto asked = Clock::now();
    const json page =
        reader.get("/changes", {{"cursor", cursor}, {"limit", "1000"}, {"type", "lead"}});
    took_ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - asked).count());
    found += page.at("changes").size();
    more = page.at("has_more").get<bool>();
    if (more && page.at("cursor") == cursor) throw std::runtime_error("the cursor stands still");
    cursor = page.at("cursor").get<std::string>();
  }
  if (found != 1) throw std::runtime_error(fmt::format("{} changes of 1", found));
  std::sort(took_ms.begin(), took_ms.end());
  json figures;
  figures["foreign"] = foreign;
  figures["polls"] = took_ms.size();
  figures["p50_ms"] = part(took_ms, 0.5);
  figures["max_ms"] = part(took_ms, 1);
  fmt::print("a reader of one type past {} changes: {}\n", foreign, figures.dump());
  return figures;
}

void make_types(cli::Client& admin) {
  for (const char* type : {"customer", "lead"}) {
    json made = json::parse(R"({"attributes":[
        {"name":"email","type":"text","format":"email","unique":true},{"name":"plan","type":"text"}]})");
    made["name"] = type;
    admin.send("POST", "/types", made);
  }
}

std::string beside_me(const char* program) {
  return (fs::read_symlink("/proc/self/exe").parent_path() / program).string();
}

/// One-row writes a second of so many writers in one workspace, each as fast as it is answered.
double burst(const std::string& program, int writers, double seconds) {
  const Host host(program);
  cli::Client admin(host.options());
  make_types(admin);
  std::atomic<int> written = 0;
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(seconds));
  {
    std::vector<std::jthread> threads;
    for (int writer = 0; writer < writers; ++writer) {
      threads.emplace_back([&host, &written, writer, end] {
        cli::Client client(host.options());
        for (int n = 0; Clock::now() < end; ++n, ++written)
          write_page(client, 1, fmt::format("b{}n{}", writer, n));
      });
    }
  }
  return written / seconds;
}

/// Alternating pairs with another build of the host.
int compare(const std::string& other, int pairs, double seconds) {
  json line;
  line["bench"] = "feed";
  for (const int writers : {1, 16}) {
    std::vector<double> ratios;
    for (int pair = 0; pair < pairs; ++pair) {
      const double before = burst(other, writers, seconds);
      const double now = burst(beside_me("sluiced"), writers, seconds);
      ratios.push_back(now / before);
      fmt::print("{} writers: {:.0f}/s, the other {:.0f}/s: {:.2f}\n", writers, now, before,
                 ratios.back());
    }
    line[fmt::format("over_other_{}", writers)] = median(ratios);
  }
  fmt::print("{}\n", line.dump());
  return 0;
}

int main_of(double seconds) {
  const Host host(beside_me("sluiced"));
  cli::Client admin(host.options());
  make_types(admin);
  json line;
  line["bench"] = "feed";
  for (const Pace& pace : {Pace{"small", 200, 1}, Pace{"large", 20, 1000}})
    line[pace.name] = measure(host, pace, seconds);
  line["filtered"] = read_past(host, admin, kForeign);
  fmt::print("{}\n", line.dump());
  return 0;
}

}  // namespace
}  // namespace sluice::bench

/// bench_feed [SECONDS] | bench_feed --against SLUICED [PAIRS [SECONDS]]
int main(int argc, char** argv) {
  using namespace sluice::bench;
  const auto number = [&](int at, double otherwise) {
    return argc > at ? std::atof(argv[at]) : otherwise;
  };
  if (argc > 2 && std::string_view(argv[1]) == "--against")
    return compare(argv[2], static_cast<int>(number(3, 5)), number(4, 5));
  return main_of(number(1, 15));
}
