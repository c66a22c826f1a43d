// What the repository promises about its own text.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "manners/source_text.hpp"

namespace sluice::manners {
namespace {

const std::filesystem::path kRoot = SLUICE_SOURCE_DIR;

struct Shape {
  const char* name;
  const char* code;
  bool risky;
};

// The rows that GCC 12.2 was measured to compile into a double free, and those that it compiles
// well.
const Shape kShapes[] = {
    {"an aggregate argument", "co_await f(Options{.url = u, .n = 2});", true},
    {"an empty braced argument", "co_await f({});", true},
    {"an initializer list", "co_await f({a, b});", true},
    {"a capturing lambda argument", "co_await f([x](int v) { use(x, v); });", true},
    {"a called coroutine lambda", "co_await [x]() -> awaitable<int> { co_return x; }();", true},
    {"a spawned coroutine lambda",
     "co_await co_spawn(ex, [x]() -> awaitable<int> { co_return x; }, use_awaitable);", true},
    {"a method of a braced temporary", "co_await Obj{}.method(1);", true},
    {"a returned await with an aggregate", "co_return co_await f(Options{.n = 1});", true},
    {"an aggregate beside an await", "g(co_await p(), Options{.n = 1});", true},
    {"an aggregate before an await", "g(Options{.n = 1}, co_await p());", true},
    {"a spawned call with an aggregate",
     "co_await co_spawn(ex, f(Options{.n = 1}), use_awaitable);", true},
    {"an aggregate in a condition", "if (auto r = co_await f(Options{.n = 1}); !r) { stop(); }",
     true},
    {"an aggregate over two lines", "auto r = co_await f(\n    Options{\n .n = 1});", true},
    {"a named value", "Options options{.n = 1};\nco_await f(std::move(options));", false},
    {"a class with a constructor", "co_await f(Params(a, b));", false},
    {"a lambda without captures", "co_await f([](int v) { return v; });", false},
    {"a structured binding", "auto [a, b] = co_await f();", false},
    {"a condition and its block", "if (co_await f(x)) {\n  g(1);\n}", false},
    {"a loop over an await", "for (auto& row : co_await f(x)) {\n  g(row);\n}", false},
    {"a block before", "if (x) { y(); }\nco_await f(x);", false},
    {"a subscript", "co_await f(values[i]);", false},
};

TEST(Manners, the_coroutine_check_knows_every_shape_that_breaks_and_none_that_does_not) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(shape.name);
    const std::string text =
        blank_comments_and_strings(std::string("Task<void> t() {\n") + shape.code + "\n}\n");
    EXPECT_EQ(!risky_coroutine_lines(text).empty(), shape.risky) << shape.code;
  }
}

TEST(Manners, no_statement_with_co_await_builds_a_braced_value_or_a_capturing_lambda) {
  for (const SourceFile& file :
       read_sources(kRoot, {"host", "tests", "bench", "plugins", "plugin-api"})) {
    if (file.path == "tests/manners/manners_test.cpp") continue;
    for (const int line : risky_coroutine_lines(blank_comments_and_strings(file.text))) {
      ADD_FAILURE() << file.path << ":" << line
                    << ": GCC 12 may compile this co_await into a double free; name the value on "
                       "the line above";
    }
  }
}

struct Banned {
  const char* pattern;
  const char* instead;
  std::set<std::string> allowed;  ///< files, or folders ending in '/'
};

bool is_allowed(const Banned& rule, const std::string& path) {
  for (const std::string& place : rule.allowed) {
    if (path == place || (place.ends_with('/') && path.starts_with(place))) return true;
  }
  return false;
}

TEST(Manners, banned_calls_stay_in_their_seams) {
  const Banned rules[] = {
      {R"(system_clock::now)", "sluice::Clock", {"host/base/clock.cpp"}},
      {R"(\b(std::)?(rand|srand)\s*\()", "sluice::Entropy", {}},
      {R"(\bPQexec\b|\bPQexecParams\b)", "pg::Connection::query", {"host/pg/"}},
      {R"(\b(sleep_for|sleep_until|usleep|nanosleep)\s*\()",
       "a timer of the loop",
       {"host/pg/cluster.cpp"}},
      {R"(\bdlclose\b)", "nothing: a connector stays mapped", {}},
      {R"(\bcancellation_signal\b)", "sluice::TaskGroup", {"host/base/task_group.hpp"}},
  };
  for (const SourceFile& file : read_sources(kRoot, {"host", "plugins", "plugin-api"})) {
    const std::string code = blank_comments_and_strings(file.text);
    for (const Banned& rule : rules) {
      if (is_allowed(rule, file.path)) continue;
      const std::regex pattern(rule.pattern);
      for (std::sregex_iterator hit(code.begin(), code.end(), pattern), end; hit != end; ++hit) {
        ADD_FAILURE() << file.path << ":"
                      << line_of(code, static_cast<std::size_t>(hit->position())) << ": "
                      << hit->str() << ": use " << rule.instead;
      }
    }
  }
}

/// Where a number is a double, and why nobody's JSON loses a digit there.
const std::map<std::string, std::string> kTakesDoubles = {
    {"host/base/exact_json.cpp", "for who judges by a schema, and lets the copy go again"},
    {"host/contract/json_schema.cpp", "multipleOf, of a copy that is judged and let go again"},
    {"host/cli/status_view.cpp", "a rate of our own, rounded for people"},
    {"host/feed/entity_query.cpp", "a filter on a number attribute, which is a double by its type"},
    {"host/feed/relation.cpp", "a number attribute's column"},
    {"host/model/own_values.cpp", "a number attribute's value"},
    {"plugin-api/sdk/include/sluice/sdk_json.hpp", "for number attributes of connectors"},
    {"plugin-api/sdk/include/sluice/sdk_record.hpp", "the same"},
};

/// Where JSON is read or written by the library, which makes doubles of numbers, and whose it is.
const std::map<std::string, std::string> kReadsByTheLibrary = {
    {"host/api/entity_links.cpp", "an id that must be a whole number, and a key that is no text"},
    {"host/api/schemas.cpp", "our own schemas, compiled in"},
    {"host/feed/entities.cpp", "a value to go on behind, as our own answer has it"},
    {"host/base/exact_json.cpp", "this is how the others do it"},
    {"host/contract/json_schema.cpp", "a value that a refusal quotes, shortened"},
    {"host/contract/manifest.cpp", "a manifest, which a connector's author wrote for this reader"},
    {"host/wiring/config.cpp", "the operator's settings"},
};

/// Lines that take a number as a double, or have the library read or write a document.
std::vector<int> lines_with(const char* pattern, const std::string& text) {
  const std::string code = blank_comments_and_strings(text);
  const std::regex expression(pattern);
  std::vector<int> lines;
  for (std::sregex_iterator hit(code.begin(), code.end(), expression), end; hit != end; ++hit)
    lines.push_back(line_of(code, static_cast<std::size_t>(hit->position())));
  return lines;
}

constexpr const char* kDoubles =
    R"(get<double>|_text<double>|\bis_number_float\b|\b(strtod|stod|strtold|stold|get_double)\b|(\.|->)real\(\)|Value::real\(\))";
constexpr const char* kLibrary =
    R"(\b[Jj]son::(parse|accept|sax_parse)\s*\(|(\.|->)dump\s*\(|<<\s*std::setw)";

TEST(Manners, the_check_of_exact_json_knows_what_goes_round_it) {
  const std::string bad =
      "const double x = value.get<double>();\n"
      "if (value.is_number_float()) return std::strtod(text, nullptr);\n"
      "auto y = found->get_double();\n"
      "record.number(value.real());\n"
      "number_of_text<double>(text);\n";
  EXPECT_EQ(lines_with(kDoubles, bad), (std::vector<int>{1, 2, 2, 3, 4, 5}));
  const std::string dom =
      "one = nlohmann::json::parse(rows.text(0, 1));\n"
      "response.body = document.dump(-1);\n"
      "text = found->dump();\n"
      "if (json::accept(text)) return;\n";
  EXPECT_EQ(lines_with(kLibrary, dom), (std::vector<int>{1, 2, 3, 4}));
  const std::string good =
      "// json::parse(text) and dump() are for others\n"
      "one = ready_json(rows.text(0, 1));\n"
      "response.body = write_json(document);\n"
      "bool operator()(int, json::parse_event_t event, json& parsed);\n"
      "record.real(attribute, *real);\n"
      "const std::string hint = \"get<double>\";\n";
  EXPECT_TRUE(lines_with(kDoubles, good).empty());
  EXPECT_TRUE(lines_with(kLibrary, good).empty());
}

TEST(Manners, no_json_of_a_vendor_or_a_user_passes_through_a_double) {
  std::set<std::string> doubles, library;
  for (const SourceFile& file : read_sources(kRoot, {"host", "plugins", "plugin-api"})) {
    for (const int line : lines_with(kDoubles, file.text)) {
      doubles.insert(file.path);
      EXPECT_TRUE(kTakesDoubles.contains(file.path))
          << file.path << ":" << line << ": a number is its digits: digits_of, base/decimal.hpp";
    }
    for (const int line : lines_with(kLibrary, file.text)) {
      library.insert(file.path);
      EXPECT_TRUE(kReadsByTheLibrary.contains(file.path))
          << file.path << ":" << line << ": read and write it by base/exact_json.hpp";
    }
  }
  EXPECT_EQ(doubles.size(), kTakesDoubles.size()) << "the list has files that need not be there";
  EXPECT_EQ(library.size(), kReadsByTheLibrary.size());
}

std::string read_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// module -> what its CMakeLists.txt says it depends on.
std::map<std::string, std::set<std::string>> declared_depends() {
  std::map<std::string, std::set<std::string>> depends;
  for (const auto& folder : std::filesystem::directory_iterator(kRoot / "host")) {
    const std::string text = read_file(folder.path() / "CMakeLists.txt");
    if (text.empty()) continue;
    const std::string module = folder.path().filename().string();
    static const std::regex kDepends(R"(DEPENDS\s+([a-z_\s]+))");
    for (std::sregex_iterator hit(text.begin(), text.end(), kDepends), end; hit != end; ++hit) {
      std::istringstream words((*hit)[1].str());
      for (std::string word; words >> word;) {
        depends[module].insert(word == "link_keys" ? "link" : word);
      }
    }
    depends[module].insert(module);
  }
  return depends;
}

TEST(Manners, a_module_includes_only_what_its_DEPENDS_say) {
  const auto depends = declared_depends();
  ASSERT_GE(depends.size(), 10U);
  static const std::regex kInclude(R"re(#include "([a-z_]+)/[^"]+")re");
  for (const SourceFile& file : read_sources(kRoot, {"host"})) {
    const std::string module = file.path.substr(5, file.path.find('/', 5) - 5);
    const auto known = depends.find(module);
    if (known == depends.end()) continue;  // main.cpp, the inventory
    for (std::sregex_iterator hit(file.text.begin(), file.text.end(), kInclude), end; hit != end;
         ++hit) {
      const std::string included = (*hit)[1].str();
      if (!depends.contains(included)) continue;
      EXPECT_TRUE(known->second.contains(included))
          << file.path << " includes " << (*hit)[0].str() << " but " << module
          << " does not DEPEND on " << included;
    }
  }
}

TEST(Manners, the_stages_of_a_record_do_not_know_each_other) {
  const auto depends = declared_depends();
  const std::set<std::string> stages = {"connector", "fetch", "ingest", "link", "feed"};
  for (const std::string& stage : stages) {
    for (const std::string& other : stages) {
      if (stage == other || (stage == "ingest" && other == "link"))
        continue;  // only link/normalise, a pure leaf
      const auto found = depends.find(stage);
      ASSERT_NE(found, depends.end()) << stage;
      EXPECT_FALSE(found->second.contains(other)) << stage << " depends on " << other;
    }
  }
}

TEST(Manners, every_failpoint_has_a_test) {
  std::set<std::string> named;
  static const std::regex kFailpoint(R"re(SLUICE_FAILPOINT\("([a-z_.]+)"\))re");
  for (const SourceFile& file : read_sources(kRoot, {"host"})) {
    for (std::sregex_iterator hit(file.text.begin(), file.text.end(), kFailpoint), end; hit != end;
         ++hit) {
      named.insert((*hit)[1].str());
    }
  }
  EXPECT_FALSE(named.empty());
  std::string tests;
  for (const SourceFile& file : read_sources(kRoot, {"tests"})) tests += file.text;
  for (const std::string& name : named) {
    EXPECT_NE(tests.find(name), std::string::npos) << "no test passes the failpoint " << name;
  }
}

/// Files of host/sync, host/ingest and host/link that may write beside the fenced way, and why.
const std::map<std::string, std::string> kWritesWithoutALease = {
    {"host/sync/connections.cpp", "what an admin asks for; no lease is needed for it"},
    {"host/sync/connection_changes.cpp", "the same"},
    {"host/sync/installation.cpp", "the same"},
    {"host/sync/import_run.cpp", "what somebody sends; no lease is needed for it"},
    {"host/sync/audit.cpp", "in the transaction of what it tells, which an admin asked for"},
    {"host/sync/deaths.cpp", "what a start finds in its own file, and what an admin asks for"},
    {"host/sync/lease.cpp", "the leases themselves"},
    {"host/sync/link_decisions.cpp", "what an admin asks for, under the lock of the link lease"},
    {"host/sync/link_rules.cpp", "what an admin asks for"},
    {"host/sync/path_attributes.cpp", "the same"},
    {"host/sync/view_work.cpp", "what a start finds to be due"},
    {"host/sync/other_hosts.cpp", "what a host says of itself"},
    {"host/work/queue.cpp", "in the transaction of what makes the work due"},
};

/// name of a constant -> name of its statement, of those that change something.
std::map<std::string, std::string> writing_statements(const std::string& text) {
  static const std::regex kStatement(R"re((k[A-Za-z]+)\{\s*"([a-z_]+)",([^;]*);)re");
  static const std::regex kWrites(R"(\b(insert into|update [a-z_.]+|delete from)\b)",
                                  std::regex::icase);
  std::map<std::string, std::string> found;
  for (std::sregex_iterator hit(text.begin(), text.end(), kStatement), end; hit != end; ++hit) {
    const std::string sql = (*hit)[3].str();
    const bool composed = sql.find("kFromStart") != std::string::npos;
    if (composed || std::regex_search(sql, kWrites)) found[(*hit)[1].str()] = (*hit)[2].str();
  }
  // Of an array each, by its own name: {"work_forget_runs", "delete from …"}.
  static const std::regex kElement(
      R"re(\{\s*"([a-z_]+)",\s*R?"\(?\s*(insert into|update|delete from) )re");
  for (std::sregex_iterator hit(text.begin(), text.end(), kElement), end; hit != end; ++hit) {
    const std::string name = (*hit)[1].str();
    const bool known = std::any_of(found.begin(), found.end(),
                                   [&](const auto& one) { return one.second == name; });
    if (!known) found[name] = name;
  }
  return found;
}

/// Lines on which a writing statement is named, and not as what a pg::Fenced is given: by query, by
/// what ends in one (write, write_fenced), by a pipeline, or by a table of statements.
std::vector<std::string> unfenced_writes(const std::string& text) {
  static const std::regex kGiven(
      R"((fenced_?\.query\(|write_?\(|call\(|write_fenced\(|\.add\(([a-z_.]+ \? (k[A-Za-z]+ : )?)?|\{&)\s*$)");
  static const std::regex kDefined(R"(Statement\s*$)");
  std::vector<std::string> found;
  for (const auto& [constant, name] : writing_statements(text)) {
    if (constant == name) continue;  // of an array, which is gone through
    const std::regex named("\\b" + constant + "\\b");
    for (std::sregex_iterator hit(text.begin(), text.end(), named), end; hit != end; ++hit) {
      const auto at = static_cast<std::size_t>(hit->position());
      const std::size_t from = at > 80 ? at - 80 : 0;
      const std::string before = text.substr(from, at - from);
      if (std::regex_search(before, kGiven) || std::regex_search(before, kDefined)) continue;
      found.push_back(std::to_string(line_of(text, at)) + ": " + constant);
    }
  }
  static const std::regex kInline(R"re(query\(\s*R?"\(?\s*(insert into|update|delete from)\b)re");
  for (std::sregex_iterator hit(text.begin(), text.end(), kInline), end; hit != end; ++hit)
    found.push_back(std::to_string(line_of(text, static_cast<std::size_t>(hit->position()))) +
                    ": " + hit->str());
  return found;
}

TEST(Manners, the_check_of_writes_under_a_lease_knows_what_goes_round_it) {
  const std::string bad =
      "const pg::Statement kDone{\"work_done\", R\"(\n update sluice.stream set x = 1)\"};\n"
      "co_await services_.pool.query(kDone, pg::Params());\n"
      "co_await lease->query(kDone);\n"
      "co_await store.pool.query(\"delete from sluice.seen\");\n"
      "co_await pool_.query(kDone);\n"
      "const auto& what = last ? kDone : kLook;\n"
      "co_await anything.query(kDone);\n";
  EXPECT_EQ(unfenced_writes(bad).size(), 6U);
  const std::string good =
      "const pg::Statement kDone{\"work_done\", R\"(\n update sluice.stream set x = 1)\"};\n"
      "const pg::Statement kLook{\"work_look\", \"select 1\"};\n"
      "co_await fenced.query(kDone, pg::Params());\n"
      "co_await write(kDone, pg::Params());\n"
      "pipeline.add(batch.done ? kDone : kLook, std::move(params));\n"
      "co_await services_.pool.query(kLook);\n";
  EXPECT_TRUE(unfenced_writes(good).empty());
  EXPECT_EQ(writing_statements(good).size(), 1U);
}

TEST(Manners, what_is_written_under_a_lease_goes_through_the_fence) {
  std::size_t statements = 0;
  for (const SourceFile& file :
       read_sources(kRoot, {"host/sync", "host/ingest", "host/link", "host/work"})) {
    statements += writing_statements(file.text).size();
    if (kWritesWithoutALease.contains(file.path)) continue;
    for (const std::string& line : unfenced_writes(file.text))
      ADD_FAILURE() << file.path << ":" << line << ": send it by a pg::Fenced (pg/fenced.hpp)";
  }
  EXPECT_GT(statements, 40U) << "the check finds no statements any more";
}

TEST(Manners, a_streams_and_a_connections_state_has_one_owner_for_what_work_says) {
  const std::map<std::string, std::string> others = {
      {"host/ingest/tail.cpp", "what a page says of its stream, in the page's transaction"},
      {"host/sync/connections.cpp", "what an admin asks for"},
      {"host/sync/connection_changes.cpp", "what an admin asks for"},
      {"host/sync/installation.cpp", "what an install does to the streams that there are"},
  };
  const std::map<std::string, std::string> owner = {
      {"stream", "host/sync/stream_state.cpp"}, {"connection", "host/sync/connection_state.cpp"}};
  static const std::regex kUpdate(R"(update\s+sluice\.(stream|connection)\b)");
  for (const SourceFile& file : read_sources(kRoot, {"host"})) {
    if (others.contains(file.path)) continue;
    for (std::sregex_iterator hit(file.text.begin(), file.text.end(), kUpdate), end; hit != end;
         ++hit) {
      EXPECT_EQ(file.path, owner.at((*hit)[1].str()))
          << "line " << line_of(file.text, static_cast<std::size_t>(hit->position()));
    }
  }
}

TEST(Manners, every_statement_that_work_sends_under_a_lease_is_stopped_at_in_a_test) {
  std::string tests;
  for (const SourceFile& file : read_sources(kRoot, {"tests/pg/sync", "tests/e2e"}))
    tests += file.text;
  for (const SourceFile& file :
       read_sources(kRoot, {"host/sync", "host/ingest", "host/link", "host/work"})) {
    if (kWritesWithoutALease.contains(file.path)) continue;
    for (const auto& [constant, name] : writing_statements(file.text)) {
      EXPECT_NE(tests.find('"' + name + '"'), std::string::npos)
          << file.path << ": nobody stops at " << name;
    }
  }
}

/// Any role that may connect can take an advisory lock, and keep it: who waits for one waits for
/// whoever only reads views.
TEST(Manners, nobody_waits_for_a_lock_that_any_role_can_take) {
  for (const SourceFile& file : read_sources(kRoot, {"host"}))
    EXPECT_EQ(file.text.find("pg_advisory"), std::string::npos) << file.path;
}

TEST(Manners, sources_name_no_path_of_one_machine) {
  const std::regex machine(R"((^|[^A-Za-z0-9_.])/(work|root|farm)/)");
  for (const SourceFile& file :
       read_sources(kRoot, {"host", "plugins", "plugin-api", "tests", "bench"})) {
    if (file.path == "tests/manners/manners_test.cpp") continue;
    EXPECT_FALSE(std::regex_search(file.text, machine)) << file.path;
  }
}

/// Paths that a document claims to exist: from the repository's root in backticks, or relative in
/// links.
std::set<std::filesystem::path> named_files(const std::filesystem::path& document) {
  std::set<std::filesystem::path> files;
  const std::string text = read_file(document);
  static const std::regex kRooted(
      R"(`((host|plugins|plugin-api|tests|docs|packaging)/[A-Za-z0-9_./-]+\.(cpp|hpp|h|md|sql|sh|json))`)");
  for (std::sregex_iterator hit(text.begin(), text.end(), kRooted), end; hit != end; ++hit) {
    files.insert(kRoot / (*hit)[1].str());
  }
  static const std::regex kLink(R"(\]\(([A-Za-z0-9_./-]+)\))");
  for (std::sregex_iterator hit(text.begin(), text.end(), kLink), end; hit != end; ++hit) {
    files.insert(document.parent_path() / (*hit)[1].str());
  }
  return files;
}

TEST(Manners, the_check_of_wide_comments_counts_characters_outside_of_fences) {
  const std::string wide = "  /// " + std::string(95, 'x') + "\n";
  std::string drawing = "/// ";
  for (int i = 0; i < 96; ++i) drawing += "─";  // 100 characters, 292 bytes
  EXPECT_EQ(wide_comment_lines("int a;\n" + wide), std::vector<int>{2});
  EXPECT_EQ(wide_comment_lines(drawing + "\n" + drawing + "─\n"), std::vector<int>{2});
  EXPECT_EQ(wide_comment_lines("// clang-format off\n" + wide + "// clang-format on\n" + wide),
            std::vector<int>{4});
}

/// The formatter leaves comments as they were written: tables and drawings are the manual, and it
/// once ran them together.
TEST(Manners, comments_keep_their_layout_and_their_width) {
  EXPECT_NE(read_file(kRoot / ".clang-format").find("\nReflowComments: false\n"),
            std::string::npos);
  for (const SourceFile& file :
       read_sources(kRoot, {"host", "plugins", "plugin-api", "tests", "bench"})) {
    for (const int line : wide_comment_lines(file.text)) ADD_FAILURE() << file.path << ':' << line;
  }
}

TEST(Manners, documents_name_only_files_that_exist) {
  std::vector<std::filesystem::path> documents = {kRoot / "README.md", kRoot / "host/README.md"};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kRoot / "docs")) {
    if (entry.path().extension() == ".md") documents.push_back(entry.path());
  }
  std::size_t named = 0;
  for (const auto& document : documents) {
    for (const auto& file : named_files(document)) {
      ++named;
      EXPECT_TRUE(std::filesystem::exists(file)) << document << " names " << file;
    }
  }
  EXPECT_GT(named, 40U);
}

}  // namespace
}  // namespace sluice::manners
