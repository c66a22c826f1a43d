// entity import: a file into an own type.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>

#include "base/exact_json.hpp"
#include "cli/context.hpp"
#include "cli/screen.hpp"
#include "cli/wait.hpp"

namespace sluice::cli {
namespace {

/// What a file is and how it is to be taken.
struct ImportWish {
  std::string type, file;
  std::string format, key, separator, empty, encoding, decimal, dates, zone;
  std::vector<std::string> map;
  std::int64_t from_line = 1;
  bool dry_run = false, create_type = false;
};

constexpr std::int64_t kLineMax = std::int64_t{1} << 40;
/// Of so many entities of a file the host knows which rows are one.
constexpr std::int64_t kComparedMax = 250'000;

volatile std::sig_atomic_t interrupted = 0;
void on_interrupt(int) { interrupted = interrupted + 1; }

/// While it lives, each Ctrl-C is a wish that we look for.
class Interruptible {
 public:
  Interruptible() {
    interrupted = 0;
    struct sigaction action {};
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, &before_);
  }
  ~Interruptible() { sigaction(SIGINT, &before_, nullptr); }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  struct sigaction before_ {};
};

/// Reads the file, and says on a terminal how far it is.
class Sending {
 public:
  Sending(std::istream& input, std::optional<std::uintmax_t> size)
      : input_(input), size_(size), shown_(::isatty(STDERR_FILENO) != 0) {}
  ~Sending() { clear(); }
  Sending(const Sending&) = delete;
  Sending& operator=(const Sending&) = delete;

  std::string next() {
    if (interrupted != 0) stop();
    std::string piece(std::size_t{64} * 1024, '\0');
    input_.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    piece.resize(static_cast<std::size_t>(input_.gcount()));
    if (interrupted != 0) stop();  // which ends the reading of a pipe, too
    bytes_ += piece.size();
    const bool is_over = piece.empty();
    // The end and a failure look alike: a part is not to be taken for the whole.
    const bool failed = input_.bad() || (&input_ == &std::cin && std::ferror(stdin) != 0);
    if (failed || (is_over && size_ && bytes_ < *size_)) {
      throw Failure(
          Error(ErrorKind::bad_input, "import.unreadable",
                fmt::format("the file could not be read to its end: {} bytes of it were{}", bytes_,
                            size_ ? fmt::format(", of {}", *size_) : "")));
    }
    lines_ += std::count(piece.begin(), piece.end(), '\n');
    show();
    return piece;
  }
  [[nodiscard]] bool has_begun() const { return bytes_ > 0; }
  [[nodiscard]] std::int64_t lines() const { return lines_; }
  void clear() {
    if (shown_ && width_ > 0) std::cerr << '\r' << std::string(width_, ' ') << '\r' << std::flush;
    width_ = 0;
  }

 private:
  [[noreturn]] void stop() const {
    throw Failure(Error(ErrorKind::cancelled, "import.interrupted",
                        fmt::format("stopped after {} lines were sent", lines_)));
  }
  void show() {
    const auto now = std::chrono::steady_clock::now();
    if (!shown_ || now - told_at_ < std::chrono::milliseconds(500)) return;
    told_at_ = now;
    const double seconds = std::chrono::duration<double>(now - began_).count();
    std::string text = fmt::format("{} rows, {:.0f}/s", lines_,
                                   seconds > 0 ? static_cast<double>(lines_) / seconds : 0);
    if (size_ && *size_ > 0) text += fmt::format(", {} % of the file", bytes_ * 100 / *size_);
    const std::string padding(width_ > text.size() ? width_ - text.size() : 0, ' ');
    std::cerr << '\r' << text << padding << std::flush;
    width_ = std::max(width_, text.size());
  }

  std::istream& input_;
  std::optional<std::uintmax_t> size_;
  bool shown_;
  std::size_t width_ = 0;
  std::uintmax_t bytes_ = 0;
  std::int64_t lines_ = 0;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point told_at_ = began_;
};

std::string line_of(const json& object, const char* member) {
  const auto line = object.find(member);
  return line == object.end() || line->is_null() ? std::string()
                                                 : fmt::format(" (line {})", cell(*line));
}

/// How the file was read.
std::string understood(const json& answer) {
  const json& how = answer.at("understood");
  std::string text = fmt::format("Read as {}", cell(how.at("encoding")));
  if (how.at("format") != "csv") return text + " NDJSON";
  const std::string separator = how.at("separator");
  text += fmt::format(" CSV, separated by {}",
                      separator == "\t" ? "tabs" : fmt::format("'{}'", separator));
  if (how.contains("decimal") && how.at("decimal") == "comma")
    text += "\nDecimals have a comma" + line_of(how, "decimal_line");
  for (const json& column : how.at("columns")) {
    if (!column.contains("dates")) continue;
    text +=
        fmt::format("\n{}: the {} comes first{}", cell(column.at("column")),
                    column.at("dates") == "dmy" ? "day" : "month", line_of(column, "dates_line"));
  }
  if (how.contains("zone"))
    text += fmt::format("\nTimes that do not say their offset are at {}", cell(how.at("zone")));
  std::string ignored;
  for (const json& column : how.at("ignored"))
    ignored += (ignored.empty() ? "" : ", ") + cell(column);
  if (!ignored.empty()) {
    text += fmt::format(
        "\nNot stored, since no attribute is called so: {}\n"
        "  (--map COLUMN=ATTRIBUTE stores a column under another name)",
        ignored);
  }
  return text;
}

std::string created(const json& type) {
  std::string text = fmt::format("Type {}:", cell(type.at("name")));
  for (const json& attribute : type.at("attributes")) {
    text += fmt::format("\n  {}: {}", cell(attribute.at("name")), cell(attribute.at("type")));
    if (attribute.value("unique", false)) text += ", unique";
    if (!attribute.value("format", "").empty())
      text += ", format " + attribute.at("format").get<std::string>();
  }
  return text + "\n";
}

bool is_one(const json& count) { return count.get<std::int64_t>() == 1; }

/// "1 row", "2 rows"
std::string many(const json& count, const char* what) {
  return fmt::format("{} {}{}", cell(count), what, is_one(count) ? "" : "s");
}

/// A table where a terminal has room for it, and nobody's reason is cut where it has none.
std::string refused(const json& rejects) {
  constexpr std::size_t kNoLimit = 100'000;
  std::string text = table(rejects,
                           {{"LINE", "/line", true},
                            {"ATTRIBUTE", "/attribute"},
                            {"CODE", "/code"},
                            {"REASON", "/reason"}},
                           kNoLimit);
  const std::size_t columns = table_columns();
  std::size_t longest = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    longest = std::max(longest, end - at);
    at = end + 1;
  }
  if (longest <= columns) return text;
  text.clear();
  for (const json& one : rejects) {
    const std::string attribute = cell(one.at("attribute"));
    text += wrapped(fmt::format("line {}{} ({}): ", cell(one.at("line")),
                                attribute.empty() ? "" : ", " + attribute, cell(one.at("code"))),
                    2, cell(one.at("reason")), columns);
  }
  return text;
}

/// What became of a file, line by line.
std::string imported(const json& answer) {
  const json& lines = answer.at("lines");
  const json& skipped = lines.value("skipped", json(0));
  std::string text;
  if (answer.at("dry_run") == true) text += "Nothing is stored: a dry run. It would be:\n";
  if (answer.contains("created")) text += created(answer.at("created"));
  text += fmt::format(
      "{}: {} new, {} changed, {} unchanged, {} rejected\n"
      "{}: {} header, {} of stored rows, {} refused, {} blank{}\n{}",
      many(answer.at("rows"), "row"), cell(answer.at("inserted")), cell(answer.at("updated")),
      cell(answer.at("unchanged")), cell(answer.at("rejected")), many(lines.at("total"), "line"),
      cell(lines.at("header")), cell(lines.at("rows")), cell(lines.at("refused")),
      cell(lines.at("blank")), skipped == 0 ? "" : fmt::format(", {} passed over", cell(skipped)),
      understood(answer));
  if (answer.at("matched_by").is_null() && answer.at("inserted").get<std::int64_t>() > 0) {
    text +=
        "\nNo attribute of the type is unique, so each row is a new entity: the same\n"
        "file again adds them all again. A type with a unique attribute has rows matched\n"
        "by it; one that is there cannot become unique";
  }
  if (!answer.at("repeats").empty()) {
    const bool one = is_one(answer.at("repeated"));
    text +=
        fmt::format("\n{} {} the key of an earlier row, and {} the same:\n",
                    many(answer.at("repeated"), "row"), one ? "has" : "have", one ? "says" : "say");
    text += table(answer.at("repeats"),
                  {{"LINE", "/line", true}, {"IS ONE WITH LINE", "/first_line", true}});
  }
  if (answer.at("compared").get<std::int64_t>() >= kComparedMax) {
    text += fmt::format(
        "\nRows with the key of an earlier row are told of the first {} entities; of\n"
        "others a later row writes over the earlier one",
        cell(answer.at("compared")));
  }
  if (!answer.at("unkeyed").empty()) {
    const bool one = is_one(answer.at("without_key"));
    text += fmt::format("\n{} {} stored and {} no key: nothing is linked by {}\n",
                        many(answer.at("without_key"), "value"), one ? "is" : "are",
                        one ? "gives" : "give", one ? "it" : "them");
    text += table(answer.at("unkeyed"),
                  {{"LINE", "/line", true}, {"ATTRIBUTE", "/attribute"}, {"IS NO", "/kind"}});
  }
  if (!answer.at("rejects").empty()) text += "\n" + refused(answer.at("rejects"));
  return text;
}

Query query_of(const ImportWish& wish, const std::string& format) {
  Query query = {{"format", format}};
  const std::pair<const char*, const std::string*> texts[] = {
      {"key", &wish.key},           {"separator", &wish.separator}, {"empty", &wish.empty},
      {"encoding", &wish.encoding}, {"decimal", &wish.decimal},     {"dates", &wish.dates},
      {"zone", &wish.zone}};
  for (const auto& [name, value] : texts)
    if (!value->empty()) query.emplace_back(name, *value);
  if (wish.dry_run) query.emplace_back("dry_run", "true");
  if (wish.create_type) query.emplace_back("create_type", "true");
  if (wish.from_line > 1) query.emplace_back("from_line", std::to_string(wish.from_line));
  if (wish.file != "-")
    query.emplace_back("file", std::filesystem::path(wish.file).filename().string());
  json map = json::object();
  for (const std::string& text : wish.map) {
    const std::size_t equals = text.rfind('=');  // no attribute has one, a column may
    if (equals == std::string::npos || equals == 0)
      throw CLI::ValidationError("--map", "'" + text + "' must be COLUMN=ATTRIBUTE, or COLUMN=");
    map[text.substr(0, equals)] = text.substr(equals + 1);
  }
  if (!map.empty()) query.emplace_back("map", write_json(map));
  return query;
}

/// The newest run of an import of this file; null where there is none.
json run_of(const Context& context, const ImportWish& wish) {
  const std::string name =
      wish.file == "-" ? "" : std::filesystem::path(wish.file).filename().string();
  const json answer = context.client().get("/runs", {{"stream", wish.type}, {"limit", "10"}});
  for (const json& run : answer.at("runs"))
    if (run.at("kind") == "import" && run.value("file", "") == name) return run;
  return nullptr;
}

/// How far an import came that did not come to its end.
struct Standing {
  json run;              ///< null: the host does not say
  bool no_type = false;  ///< it was not made yet
  bool has_ended = false;
  bool is_matched = false;  ///< its rows are found again when they are sent again
};

bool has_unique(const json& type) {
  const json attributes = type.value("attributes", json::array());
  return std::any_of(attributes.begin(), attributes.end(),
                     [](const json& one) { return one.value("unique", false); });
}

/// Waits until the host has noticed that nobody sends any more and has stored what it had, which
/// may have to wait for others' locks. Another Ctrl-C ends the wait.
Standing standing_of(const Context& context, const ImportWish& wish, std::chrono::seconds most) {
  constexpr auto kProgressEvery = std::chrono::milliseconds(250);
  constexpr auto kSaidAfter = std::chrono::seconds(2);
  Standing standing;
  const int before = interrupted;
  const auto began = std::chrono::steady_clock::now();
  bool said = false;
  try {
    standing.is_matched = has_unique(context.client().get("/types/" + Client::escape(wish.type)));
    for (;;) {
      standing.run = run_of(context, wish);
      standing.has_ended = !standing.run.is_null() && standing.run.at("outcome") != "running";
      const auto waited = std::chrono::steady_clock::now() - began;
      if (standing.has_ended || standing.run.is_null() || waited > most || interrupted != before)
        break;
      if (!said && waited > kSaidAfter)
        std::cerr << "sluice: the host stores what it has; Ctrl-C does not wait for that\n";
      said = said || waited > kSaidAfter;
      pause_for(kProgressEvery);
    }
  } catch (const Failure& failure) {
    standing.run = nullptr;  // it is not there
    standing.no_type = failure.error().code == "type.not_found";
  }
  return standing;
}

/// "; 5000 new and 0 changed rows are stored (run 17)", and what to do then.
void add_standing(Error& error, const ImportWish& wish, const Standing& standing) {
  if (standing.no_type) {
    error.message += "; no type was made, and nothing is stored";
    error.hint.clear();
    return;
  }
  const char* const how = wish.create_type ? ", without --create-type" : "";
  if (standing.run.is_null()) {
    error.message += "; rows that were stored until then stay";
    error.hint = fmt::format(
        "When the host answers again, sluice runs --stream {} says what is stored, and sluice run "
        "show up to which line of the file (file_line). The file again{} stores the rest where the "
        "type has a unique attribute; where it has none, only with --from-line and the line behind "
        "that one",
        wish.type, how);
    return;
  }
  const json& run = standing.run;
  const json line = run.value("file_line", json());
  const std::int64_t done = line.is_null() ? 0 : line.get<std::int64_t>();
  error.message += fmt::format("; {} new and {} changed rows are stored{} (run {})",
                               cell(run.at("inserted")), cell(run.at("updated")),
                               standing.has_ended ? "" : " by now", cell(run.at("run")));
  if (standing.is_matched || (standing.has_ended && done == 0)) {
    error.hint = fmt::format("The file again{} stores the rest, and leaves what is stored", how);
  } else if (standing.has_ended) {
    error.hint = fmt::format(
        "Everything up to line {} is done: import the file again with --from-line {}{}. Whole, "
        "these rows would be there twice",
        done, done + 1, how);
  } else {
    error.hint = fmt::format(
        "The run has not ended. When it has, sluice run show {} says up to which line of the file "
        "all is done (file_line): import it again from the next one, with --from-line{}",
        cell(run.at("run")), how);
  }
}

json send_file(const Context& context, const ImportWish& wish) {
  std::ifstream file;
  std::optional<std::uintmax_t> size;
  if (wish.file != "-") {
    errno = 0;
    file.open(wish.file, std::ios::binary);
    const int why = errno;
    std::error_code unknown;
    const bool is_directory = std::filesystem::is_directory(wish.file, unknown);
    if (!file || is_directory) {
      throw Failure(Error(ErrorKind::bad_input, "cli.file",
                          wish.file + " cannot be read: " +
                              std::generic_category().message(is_directory ? EISDIR : why),
                          "Name a file of CSV or NDJSON, or - for standard input"));
    }
    std::error_code none;
    const std::uintmax_t bytes = std::filesystem::file_size(wish.file, none);
    if (!none) size = bytes;
  }
  std::istream& input = wish.file == "-" ? std::cin : file;
  std::string format = wish.format;
  if (format.empty())
    format = wish.file.ends_with(".ndjson") || wish.file.ends_with(".jsonl") ? "ndjson" : "csv";
  const Interruptible interruptible;
  Sending sending(input, size);
  try {
    return context.client().upload(
        "/types/" + Client::escape(wish.type) + "/import", query_of(wish, format),
        format == "csv" ? "text/csv" : "application/x-ndjson", [&] { return sending.next(); });
  } catch (const Failure& failure) {
    Error error = failure.error();
    const bool is_gone = error.code == "host.unreachable" && sending.has_begun();
    if (error.code != "import.interrupted" && error.code != "import.unreadable" && !is_gone) throw;
    sending.clear();
    constexpr std::chrono::seconds kNoticedMax{90}, kBackMax{5};
    if (is_gone) {
      error.code = "import.host_gone";
      error.message = fmt::format("the host went away when {} lines were sent ({})",
                                  sending.lines(), error.message);
      error.hint = "Nothing was to be stored: do it again when the host is back";
    } else {
      error.hint.clear();
    }
    if (!wish.dry_run)
      add_standing(error, wish, standing_of(context, wish, is_gone ? kBackMax : kNoticedMax));
    throw Failure(std::move(error));
  }
}

void import_file(const Context& context, const ImportWish& wish) {
  const json answer = send_file(context, wish);
  context.say(answer, imported(answer));
  if (answer.at("rejected").get<std::int64_t>() > 0) {
    throw Failure(Error(
        ErrorKind::bad_input, "import.rejected",
        fmt::format("{} {} rejected ({}); all others {} stored", many(answer.at("rejected"), "row"),
                    wish.dry_run                    ? "would be"
                    : is_one(answer.at("rejected")) ? "was"
                                                    : "were",
                    many(answer.at("lines").at("refused"), "line"),
                    wish.dry_run ? "would be" : "are"),
        answer.at("matched_by").is_null() && !wish.dry_run
            ? "Correct these lines and import them alone: the others would be there twice"
            : "Correct these lines and import the file again"));
  }
}

}  // namespace

void add_import(CLI::App& entity, Context& context) {
  auto wish = std::make_shared<ImportWish>();
  auto* command = entity.add_subcommand(
      "import", "Import CSV or NDJSON into an own type; '-' is standard input");
  command->add_option("type", wish->type)->required();
  command->add_option("file", wish->file)->required();
  const auto text = [&](const char* name, std::string& place, const char* help) {
    command->add_option(name, place, help);
  };
  text("--format", wish->format, "csv or ndjson; from the file's name otherwise");
  text("--key", wish->key, "unique attribute that rows are matched by");
  text("--empty", wish->empty, "an empty CSV field: absent leaves what is stored, null clears it");
  command->add_option("--map", wish->map,
                      "COLUMN=ATTRIBUTE stores a column under another name, COLUMN= leaves it out; "
                      "once for each");
  command
      ->add_option("--from-line", wish->from_line,
                   "pass over rows before this line of the file: those that an import which was "
                   "cut has stored")
      ->check(CLI::Range(std::int64_t{1}, kLineMax));
  command->add_flag("--dry-run", wish->dry_run, "look at everything and store nothing");
  command->add_flag("--create-type", wish->create_type,
                    "make the type from the file; --key names the column that is unique");
  text("--separator", wish->separator, "one character, or tab; told from the file otherwise");
  text("--encoding", wish->encoding,
       "utf-8, utf-16le, utf-16be or windows-1252; told from the file otherwise");
  text("--decimal", wish->decimal, "point or comma; told from the file otherwise");
  text("--dates", wish->dates, "dmy or mdy, of 03/04/2024; told from the file otherwise");
  text("--zone", wish->zone, "offset of times that do not say theirs, such as +01:00; else UTC");
  command->callback([&context, wish] { import_file(context, *wish); });
}

}  // namespace sluice::cli
