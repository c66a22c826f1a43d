#include "model/import.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>

#include "base/task_group.hpp"
#include "model/infer.hpp"
#include "model/own_entities.hpp"
#include "model/own_types.hpp"
#include "pg/model/manifests.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::model {
namespace {

using nlohmann::json;
using sluice::testing::make_workspace;

class ImportTest : public sluice::testing::PgTest {
 protected:
  void SetUp() override {
    PgTest::SetUp();
    catalog_ = run(workspace("acme"));
  }
  Task<CatalogPtr> workspace(std::string name) {
    const WorkspaceId id = co_await make_workspace(pool(), std::move(name));
    const json request = json::parse(R"({"name":"customer","attributes":[
        {"name":"email","type":"text","format":"email","unique":true},
        {"name":"name","type":"text"},{"name":"plan","type":"text"},{"name":"note","type":"text"},{"name":"seats","type":"integer"},{"name":"vip","type":"boolean"}]})");
    auto type = own_type_from_json(request);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    co_await create_own_type(transaction, id, std::move(*type));
    co_await transaction.commit();
    co_return co_await load_catalog(*lease, id);
  }
  Task<ImportResult> import_task(CatalogPtr catalog, std::vector<std::string> pieces,
                                 ImportOptions options) {
    auto importer = expect(Importer::make(pool(), catalog, "customer", std::move(options)));
    for (const std::string& piece : pieces) co_await importer.feed(piece);
    co_return co_await importer.finish();
  }
  ImportResult import(const std::string& text, ImportOptions options = {}) {
    return run(import_task(catalog_, {text}, options));
  }
  std::string refusal(const std::string& text) {
    try {
      import(text);
    } catch (const Failure& failure) {
      return failure.error().code;
    }
    return "";
  }
  /// "header+rows+refused+blank=total", in lines.
  static std::string lines(const ImportResult& r) {
    EXPECT_EQ(r.lines.header + r.lines.rows + r.lines.refused + r.lines.blank + r.lines.skipped,
              r.lines.total);
    return fmt::format("{}+{}+{}+{}={}", r.lines.header, r.lines.rows, r.lines.refused,
                       r.lines.blank, r.lines.total);
  }
  static std::string counts(const ImportResult& r) {
    return fmt::format("{}: {}+ {}~ {}= {}!", r.rows, r.inserted, r.updated, r.unchanged,
                       r.rejected);
  }
  static std::string rejects(const ImportResult& r) {
    std::string out;
    for (const ImportReject& reject : r.rejects)
      out += fmt::format("{} {} {};", reject.line, reject.attribute, reject.code);
    return out;
  }
  std::string stored(const Catalog& catalog) {
    const auto rows =
        run(pool().query(fmt::format("select coalesce(string_agg(data::text, ';' order by "
                                     "data->>'email', id), '') from sluice.own_entity"
                                     " where workspace_id = {}",
                                     catalog.workspace.value)));
    return rows.get<std::string>(0, 0);
  }
  static std::string file(const std::string& name) {
    std::ifstream stream(std::string(SLUICE_CSV_FIXTURES "/") + name, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(stream), {}};
    EXPECT_FALSE(text.empty()) << name;
    return text;
  }
  CatalogPtr catalog_;
};

TEST_F(ImportTest, TheSameFileAgainChangesNothing) {
  const std::string file =
      "\xEF\xBB\xBF"
      "email,name,seats,vip\r\na@x.com,\"Ann, \"\"A\"\"\nB\",5,true\r\nb@x.com,,,\r\n";
  EXPECT_EQ(counts(import(file)), "2: 2+ 0~ 0= 0!");
  EXPECT_EQ(counts(import(file)), "2: 0+ 0~ 2= 0!");
  EXPECT_EQ(import(file).matched_by, "email") << "without it they were new ones each time";
  EXPECT_EQ(
      stored(*catalog_),
      R"({"vip": true, "name": "Ann, \"A\"\nB", "email": "a@x.com", "seats": 5};{"email": "b@x.com"})");
}

TEST_F(ImportTest, EveryRefusedRowIsListedAndTheOthersAreStored) {
  const auto result = import(
      "email,name,seats\na@x.com,\u00c4\u00d6,five\nb@x.com,B,2\nc@x.com,C\n\"d@x.com\"x,D,1\n,E,"
      "1\n\xff@x."
      "com,F,1\nb@x.com,B,3\n");
  EXPECT_EQ(counts(result), "7: 1+ 0~ 0= 6!");
  EXPECT_EQ(rejects(result),
            "2 seats import.bad_value;4  import.wrong_columns;5  import.bad_quotes;6 email "
            "import.missing_key;"
            "7 email import.bad_utf8;8 email import.repeated_key;");
  EXPECT_EQ(to_json(result)["rejects"][0]["line"], 2);
}

TEST_F(ImportTest, NdjsonRowsAreTakenStrictly) {
  ImportOptions options;
  options.format = ImportFormat::ndjson;
  const auto result = import(
      "{\"email\":\"a@x.com\",\"seats\":1}\n{\"email\":\"b@x.com\",\"seats\":\"1\"}\n[1]\n{\n"
      "{\"email\":\"c@x.com\",\"colour\":1}\n",
      options);
  EXPECT_EQ(counts(result), "5: 1+ 0~ 0= 4!");
  EXPECT_EQ(rejects(result),
            "2 seats import.bad_value;3  import.bad_json;4  import.bad_json;5 colour "
            "import.unknown_column;");
}

TEST_F(ImportTest, NdjsonMembersAreRenamedByTheNamesThatTheLineHas) {
  struct Case {
    std::map<std::string, std::string> map;
    const char* line;
    const char* wanted;
  };
  const Case cases[] = {
      {{{"name", "plan"}, {"plan", "note"}}, R"("name":"N")", R"({"plan": "N", "email": "a"})"},
      {{{"name", "plan"}, {"plan", ""}},
       R"("name":"N","plan":"P")",
       R"({"plan": "N", "email": "a"})"},
      {{{"name", "plan"}, {"plan", "name"}},
       R"("name":"N","plan":"P")",
       R"({"name": "P", "plan": "N", "email": "a"})"},
      {{{"name", "plan"}}, R"("name":"N","plan":"P")", "1 import.duplicate_column"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.line);
    ImportOptions options;
    options.format = ImportFormat::ndjson;
    options.form.map = one.map;
    run(pool().query("delete from sluice.own_unique"));
    run(pool().query("delete from sluice.own_entity"));
    const auto result = import(fmt::format("{{\"email\":\"a\",{}}}\n", one.line), options);
    EXPECT_EQ(result.rejects.empty()
                  ? stored(*catalog_)
                  : fmt::format("{} {}", result.rejects[0].line, result.rejects[0].code),
              one.wanted);
  }
}

TEST_F(ImportTest, AMappedColumnIsTheOneOfThatNameAndNotOneThatLooksLikeIt) {
  ImportOptions options;
  options.form.map = {{"Email", ""}};
  EXPECT_EQ(counts(import("E-Mail,Email,name\nold@x,new@x,N\n", options)), "1: 1+ 0~ 0= 0!");
  EXPECT_EQ(stored(*catalog_), R"({"name": "N", "email": "old@x"})");
}

TEST_F(ImportTest, AnExportedEntityIsARow) {
  ImportOptions options;
  options.format = ImportFormat::ndjson;
  const auto result = import(
      R"({"id":"7","type":"customer","attributes":{"email":"a","seats":3},"links":{}})", options);
  EXPECT_EQ(counts(result), "1: 1+ 0~ 0= 0!");
  EXPECT_EQ(stored(*catalog_), R"({"email": "a", "seats": 3})");
}

TEST_F(ImportTest, NumbersThatMayHaveThousandsAreNotGuessed) {
  // Whole numbers never, and decimals only where programs write: with commas between fields.
  EXPECT_EQ(refusal("email,seats\na@x,1.000\n"), "import.ambiguous_decimals");
  EXPECT_EQ(refusal("email\tseats\na@x\t1.000\n"), "import.ambiguous_decimals");
  EXPECT_EQ(refusal("email,seats\na@x,1.0\n"), "");
  std::string late = "email,seats\n";
  for (int n = 0; late.size() < 300 * 1024; ++n) late += fmt::format("u{}@x.example,7\n", n);
  const auto result = import(late + "last@x.example,1.000\n");
  EXPECT_EQ(result.rejected, 1);
  ASSERT_EQ(result.rejects.size(), 1U);
  EXPECT_NE(result.rejects[0].reason.find("may have a decimal point"), std::string::npos)
      << result.rejects[0].reason;
}

TEST_F(ImportTest, OfAFileThatMakesItsTypeTheColumnsAreWhatAllValuesCanBe) {
  const auto types = [](const std::string& text, const FormWish& wish) {
    std::string all;
    for (const OwnAttribute& one : infer_type(text, true, "t", "", wish).type.attributes)
      all += fmt::format("{} {};", one.name, contract::to_string(one.type));
    return all;
  };
  FormWish comma;
  comma.decimal = DecimalMark::comma;
  EXPECT_EQ(types("id;version;betrag\n1;1.10;1.234,50\n2;1.20;99,00\n", comma),
            "t_id integer;version text;betrag decimal;");
  EXPECT_EQ(types("phone,land,paid,vip\n612 345 678,NO,yes,true\n612 345 679,NO,no,true\n", {}),
            "phone text;land text;paid boolean;vip boolean;");
  EXPECT_EQ(types("price,count\n1.10,007\n2,8\n", {}), "price decimal;count text;");
  EXPECT_EQ(types("rate,code\n1e-05,1e5\n0.5,2e7\n", {}), "rate decimal;code text;");
}

TEST_F(ImportTest, AHeaderThatCannotBeUsedRefusesTheFile) {
  EXPECT_EQ(refusal("colour,shape\n"), "import.unknown_column");
  EXPECT_EQ(refusal("email,email\n"), "import.duplicate_column");
  EXPECT_EQ(refusal("name\nx\n"), "import.missing_key");
  EXPECT_EQ(refusal("\x81,email\n"), "import.bad_utf8");
  EXPECT_EQ(refusal("\"email"), "import.bad_header");
  EXPECT_EQ(refusal(""), "import.empty");
  EXPECT_EQ(stored(*catalog_), "");
}

TEST_F(ImportTest, EmptyFieldsLeaveOrClearAsAsked) {
  import("email,name\na@x.com,A\n");
  EXPECT_EQ(counts(import("email,name\na@x.com,\n")), "1: 0+ 0~ 1= 0!");
  ImportOptions options;
  options.empty = EmptyField::null;
  EXPECT_EQ(counts(import("email,name\na@x.com,\n", options)), "1: 0+ 1~ 0= 0!");
  EXPECT_EQ(stored(*catalog_), R"({"email": "a@x.com"})");
}

TEST_F(ImportTest, RejectsBeyondTheLimitAreCounted) {
  std::string file = "email,seats\n";
  for (std::size_t i = 0; i < kImportRejectsMax + 50; ++i) file += fmt::format("u{}@x.com,x\n", i);
  const auto result = import(file);
  EXPECT_EQ(result.rejected, 1050);
  EXPECT_EQ(result.reasons, 1050);
  EXPECT_EQ(result.rejects.size(), kImportRejectsMax);
}

TEST_F(ImportTest, AnyChunkingOfAFileGivesTheSameResult) {
  constexpr unsigned kSeed = 7;
  std::mt19937 random(kSeed);
  std::string csv = "email,name,seats,vip\r\n";
  std::string ndjson;
  for (int i = 0; i < 6500; ++i) {
    const auto user = static_cast<unsigned>(random() % 6000);
    csv += fmt::format("u{}@x.com,\"N,\"\"{}\"\"\n\",{},{}\r\n", user, random() % 3,
                       random() % 9 ? "4" : "x", "true");
    ndjson += fmt::format("{{\"email\":\"u{}@x.com\",\"seats\":{}}}\n", user,
                          random() % 9 ? "4" : "\"x\"");
  }
  int n = 0;
  for (const ImportFormat format : {ImportFormat::csv, ImportFormat::ndjson}) {
    const std::string& text = format == ImportFormat::csv ? csv : ndjson;
    std::string expected;
    for (const std::size_t piece_max : {std::size_t{1} << 20, std::size_t{7}, std::size_t{1000}}) {
      const auto catalog = run(workspace(fmt::format("w{}", ++n)));
      std::vector<std::string> pieces;
      for (std::size_t at = 0; at < text.size();) {
        pieces.push_back(text.substr(at, 1 + random() % piece_max));
        at += pieces.back().size();
      }
      ImportOptions options;
      options.format = format;
      const auto result = run(import_task(catalog, pieces, options));
      const std::string got = to_json(result).dump() + stored(*catalog);
      EXPECT_GT(result.rejected, 0);
      EXPECT_GT(result.inserted, 500);
      if (expected.empty()) expected = got;
      EXPECT_EQ(got, expected) << "seed " << kSeed << ", pieces up to " << piece_max;
    }
  }
}

TEST_F(ImportTest, OfSixtyThousandLinesWithOneStrayQuoteAllOthersAreStored) {
  std::string text = "email,name\n";
  for (int line = 2; line <= 60'001; ++line) {
    text +=
        line == 12 ? "u12@x.example,\"5 inch\n" : fmt::format("u{0}@x.example,\"n {0}\"\n", line);
  }
  const auto result = import(text);
  EXPECT_EQ(counts(result), "60000: 59999+ 0~ 0= 1!");
  EXPECT_EQ(lines(result), "1+59999+1+0=60001");
  EXPECT_EQ(rejects(result), "12  import.bad_quotes;");
  EXPECT_EQ(result.rejects[0].reason,
            "quotes open on line 12: text follows a closing quote; a quote inside quotes is "
            "doubled");
  EXPECT_EQ(to_json(result)["lines"]["refused"], 1);
}

TEST_F(ImportTest, ARefusedRowOfSeveralLinesSaysSo) {
  const auto result = import("email,name\na@x.com,\"one\ntwo\",x\nb@x.com,\"x\ny\",\"z\n");
  EXPECT_EQ(counts(result), "2: 0+ 0~ 0= 2!");
  EXPECT_EQ(lines(result), "1+0+4+0=5");
  EXPECT_EQ(rejects(result), "2  import.wrong_columns;5  import.bad_quotes;");
  EXPECT_EQ(result.rejects[0].lines, 2);
  EXPECT_EQ(result.rejects[1].lines, 2);
  EXPECT_NE(result.rejects[1].reason.find("the row begins on line 4"), std::string::npos)
      << result.rejects[1].reason;
}

TEST_F(ImportTest, LinesOfNdjsonAreAccountedFor) {
  ImportOptions options;
  options.format = ImportFormat::ndjson;
  const auto result = import("{\"email\":\"a@x.com\"}\n\n{\n  \n{\"email\":\"b@x.com\"}", options);
  EXPECT_EQ(counts(result), "3: 2+ 0~ 0= 1!");
  EXPECT_EQ(lines(result), "0+2+1+2=5");
}

TEST_F(ImportTest, LinesThatAreOneByTheirKeySayWhich) {
  const auto result = import("email,name\nAnn@x.com,1\nb@x.com,2\nann@X.com,3\nb@x.com,2\n");
  EXPECT_EQ(counts(result), "4: 2+ 0~ 1= 1!");
  EXPECT_EQ(result.repeated, 1);
  EXPECT_EQ(to_json(result)["repeats"].dump(), R"([{"first_line":3,"line":5}])");
  EXPECT_EQ(rejects(result), "4 email import.repeated_key;");
  EXPECT_EQ(result.rejects[0].reason, "line 2 has the same email, and another name");
  EXPECT_EQ(import("email,name\nb@x.com,2\n").repeated, 0);
}

TEST_F(ImportTest, AnAddressIsOneHoweverItIsSpelt) {
  const auto result = import(file("one_address.csv"));
  EXPECT_EQ(counts(result), "6: 1+ 0~ 0= 5!");
  const auto rows = import(file("rows_twice.csv"));
  EXPECT_EQ(counts(rows), "3: 1+ 0~ 0= 2!");
  EXPECT_EQ(counts(import("email,note\np@x.com,n\nP@X.com,n\n")), "2: 1+ 0~ 1= 0!")
      << "it is spelt otherwise, and nothing else is another";
}

TEST_F(ImportTest, OfTwoRowsWithOneKeyTheFirstCountsAndNothingChangesWhenTheyComeAgain) {
  // Within a batch, in the batch that is stored beside it, and far behind.
  std::string text = "email,name,plan\nu0@x.com,A,pro\nU0@x.com,B,\nu0@x.com,,pro\n";
  for (int n = 1; n < 12'000; ++n) text += fmt::format("u{}@x.com,N,pro\n", n);
  text += "u0@x.com,A,basic\nu5@x.com,N,pro\nu11999@x.com,M,basic\n";
  const std::string refused =
      "3 email import.repeated_key;12004 email import.repeated_key;12006 email "
      "import.repeated_key;";
  const auto first = import(text);
  EXPECT_EQ(counts(first), "12005: 12000+ 0~ 2= 3!");
  EXPECT_EQ(rejects(first), refused);
  ASSERT_EQ(first.rejects.size(), 3U);
  EXPECT_EQ(first.rejects[1].reason, "line 2 has the same email, and another plan");
  EXPECT_EQ(first.rejects[2].reason, "line 12003 has the same email, and another name, plan");
  EXPECT_EQ(first.repeated, 2);
  const auto again = import(text);
  EXPECT_EQ(counts(again), "12005: 0+ 0~ 12002= 3!");
  EXPECT_EQ(rejects(again), refused);
}

TEST_F(ImportTest, ARowWhoseFirstOneWasRefusedIsTheFirst) {
  const auto result = import("email,name,seats\na@x.com,A,five\na@x.com,B,5\na@x.com,C,5\n");
  EXPECT_EQ(counts(result), "3: 1+ 0~ 0= 2!");
  EXPECT_EQ(result.rejects[1].reason, "line 3 has the same email, and another name");
}

TEST_F(ImportTest, RowsBeforeALineArePassedOverAndTheHeaderIsNot) {
  const std::string text =
      "email,name\na@x.com,\"A\nA\"\n\nbad\nb@x.com,B\nc@x.com,C\nd@x.com,\"D\nD\"\n";
  ImportOptions options;
  options.from_line = 7;
  const auto rest = import(text, options);
  EXPECT_EQ(counts(rest), "2: 2+ 0~ 0= 0!");
  EXPECT_EQ(lines(rest), "1+3+0+1=9");
  EXPECT_EQ(rest.lines.skipped, 4);
  options.from_line = 10;
  EXPECT_EQ(counts(import(text, options)), "0: 0+ 0~ 0= 0!") << "it was cut behind its last row";
  options.from_line = 11;
  try {
    import(text, options);
    ADD_FAILURE() << "a line that is not there";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error().code, "import.from_line_beyond_the_end");
    EXPECT_NE(failure.error().message.find("the file has 9 lines"), std::string::npos);
  }
  ImportOptions ndjson;
  ndjson.format = ImportFormat::ndjson;
  ndjson.from_line = 2;
  const auto second = import("{\"email\":\"x@x.com\"}\n{\"email\":\"y@x.com\"}\n", ndjson);
  EXPECT_EQ(counts(second), "1: 1+ 0~ 0= 0!");
}

TEST_F(ImportTest, FilesOfOtherKindsAreKnownByTheirFirstBytes) {
  using namespace std::string_literals;
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\x1f\x8b\x08\x00\x00"s, "import.packed"},
      {"PK\x03\x04\x14\x00xl/workbook.xml"s, "import.workbook"},
      {"PK\x03\x04\x14\x00mimetypeapplication/vnd.oasis.opendocument.spreadsheet"s,
       "import.workbook"},
      {"PK\x03\x04\x14\x00customers.csv"s, "import.packed"},
      {"\xd0\xcf\x11\xe0\xa1\xb1"s, "import.workbook"},
      {"%PDF-1.7\n", "import.not_text"},
      {"\xef\xbb\xbf [\n  {\"email\": \"a@x.com\"}]", "import.json"},
      {"{\"email\":\"a@x.com\"}\n", "import.json"},
      {"[email],[name]\na@x.com,A\n", ""}};
  for (const auto& [text, code] : cases) EXPECT_EQ(refusal(text), code) << text;
  EXPECT_EQ(stored(*catalog_), R"({"name": "A", "email": "a@x.com"})");
}

TEST_F(ImportTest, ValuesThatGiveNoKeyAreStoredCountedAndTold) {
  const auto unkeyed = [](const ImportResult& result) {
    std::string out;
    const json document = to_json(result);
    for (const json& one : document["unkeyed"])
      out += fmt::format("{} {} {};", one["line"].dump(), one["attribute"].get<std::string>(),
                         one["kind"].get<std::string>());
    return out;
  };
  const std::string csv =
      "email,name,seats\nann@x.com,Ann,1\nno address,Bob,2\n\"two\nlines\",Cy,3\n,Di,4\n"
      "at@,Ed,many\nann.x.com,Flo,6\n";
  for (const char* time : {"new", "unchanged"}) {
    const ImportResult result = import(csv);
    EXPECT_EQ(result.without_key, 3) << time;
    EXPECT_EQ(unkeyed(result), "3 email email;4 email email;8 email email;") << time;
    EXPECT_EQ(to_json(result)["without_key"], 3);
  }
  EXPECT_NE(stored(*catalog_).find("no address"), std::string::npos);
  ImportOptions lines;
  lines.format = ImportFormat::ndjson;
  EXPECT_EQ(unkeyed(import("{\"email\":\"b@x.com\"}\n{\"email\":\"nobody\"}\n", lines)),
            "2 email email;");
  std::string many = "email\n";
  for (int i = 0; i < 250; ++i) many += "nobody " + std::to_string(i) + "\n";
  const ImportResult result = import(many);
  EXPECT_EQ(result.without_key, 250);
  EXPECT_EQ(result.unkeyed.size(), kImportUnkeyedMax);
  EXPECT_EQ(result.unkeyed.back().line, 101);
}

TEST_F(ImportTest, BatchesThatAreStoredTogetherAreToldInTheOrderOfTheFile) {
  std::string text = "email,name\n";
  for (int n = 10'000; n < 26'000; ++n) text += fmt::format("u{0}@x.example,{0}\n", n);
  EXPECT_EQ(counts(import(text)), "16000: 16000+ 0~ 0= 0!");
  const auto order = run(pool().query(
      "select count(*), count(*) filter (where before > name) from (select e.data->>'name' as "
      "name, "
      "lag(e.data->>'name') over (order by c.position) as before from sluice.change c "
      "join sluice.own_entity e on e.id = c.entity_id and e.workspace_id = c.workspace_id) told"));
  EXPECT_EQ(order.get<std::int64_t>(0, 0), 16'000);
  EXPECT_EQ(order.get<std::int64_t>(0, 1), 0);
}

TEST_F(ImportTest, TwoFilesWithTheSameNewKeysInAnotherOrderDoNotWaitForEachOtherForEver) {
  // A's first batch has x and its second y, B's the other way round; all four have their rows
  // before any of them goes on.
  const auto text = [](const char* who, const char* first, const char* second) {
    std::string all = "email,name\n";
    for (int n = 0; n < 4'999; ++n) all += fmt::format("{0}{1}@x.example,{0}\n", who, n);
    return all + fmt::format("{}@x.example,{}\n{}@x.example,{}\n", first, who, second, who);
  };
  const auto task = [this](std::string a, std::string b) -> Task<std::string> {
    auto holder = co_await superuser_pool().acquire();
    co_await holder->query("begin");
    co_await holder->query("lock table sluice.own_unique in share mode");
    std::string ended;
    TaskGroup both(pool().executor());
    const auto one = [this, &ended](std::string file) -> Task<void> {
      std::vector<std::string> pieces;
      pieces.push_back(std::move(file));
      const ImportResult result =
          co_await import_task(catalog_, std::move(pieces), ImportOptions());
      ended += counts(result) + "; ";
    };
    both.spawn(one(std::move(a)));
    both.spawn(one(std::move(b)));
    asio::steady_timer timer(co_await asio::this_coro::executor);
    timer.expires_after(std::chrono::seconds(2));
    co_await timer.async_wait(asio::use_awaitable);
    co_await holder->query("commit");
    co_await both.wait();
    co_return ended;
  };
  const auto begun = std::chrono::steady_clock::now();
  const std::string ended = run(task(text("a", "x", "y"), text("b", "y", "x")));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20)) << ended;
  const auto rows = run(pool().query("select count(*) from sluice.own_entity"));
  EXPECT_EQ(rows.get<std::int64_t>(0, 0), 10'000) << ended;
}

TEST_F(ImportTest, BatchesWithTheSameKeysAreStoredOneAfterTheOther) {
  std::string text = "email,name\n";
  for (const char* spelt : {"u{}@x.example,{}\n", "U{}@X.example,{}\n"}) {
    for (int n = 0; n < 5'000; ++n)
      text += fmt::format(fmt::runtime(spelt), n, spelt[0] == 'u' ? "A" : "B");
  }
  EXPECT_EQ(counts(import(text)), "10000: 5000+ 0~ 0= 5000!");
  EXPECT_EQ(run(pool().query("select count(*) from sluice.own_entity where data->>'name' = 'A'"))
                .get<std::int64_t>(0, 0),
            5'000);
  ImportOptions dry;
  dry.dry_run = true;
  catalog_ = run(workspace("dry"));
  EXPECT_EQ(counts(import(text, dry)), "10000: 5000+ 0~ 0= 5000!") << "a dry run tells the same";
}

TEST_F(ImportTest, ADryRunComparesEachUniqueAttributeWithTheBatchesBefore) {
  const auto with_two = [this](std::string name) -> Task<CatalogPtr> {
    const WorkspaceId id = co_await make_workspace(pool(), std::move(name));
    const json request = json::parse(R"({"name":"customer","attributes":[
        {"name":"email","type":"text","format":"email","unique":true},
        {"name":"number","type":"integer","unique":true}]})");
    auto type = own_type_from_json(request);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    co_await create_own_type(transaction, id, std::move(*type));
    co_await transaction.commit();
    co_return co_await load_catalog(*lease, id);
  };
  std::string text = "email,number\n";
  for (int n = 0; n < 5'000; ++n) text += fmt::format("u{}@x.example,{}\n", n, n);
  text += "new@x.example,7\n";    // u7 has it
  text += "u8@x.example,9000\n";  // says otherwise than line 10
  text += "other@x.example,8\n";  // so u8 still has it
  text += "third@x.example,9002\n";
  text += "new@x.example,9001\n";  // was refused before, and is new
  text += "u9@x.example,9\n";
  ImportOptions options;
  options.dry_run = true;
  catalog_ = run(with_two("dry"));
  const auto dry = import(text, options);
  EXPECT_EQ(counts(dry), "5006: 5002+ 0~ 1= 3!");
  ASSERT_EQ(dry.rejects.size(), 3U);
  EXPECT_EQ(dry.rejects[0].reason,
            "a row before it has this value, and it is unique; line 9 of this file is that entity");
  catalog_ = run(with_two("wet"));
  const auto wet = import(text);
  EXPECT_EQ(counts(wet), counts(dry)) << "as it then is";
  EXPECT_EQ(rejects(wet), rejects(dry));
}

/// A row may leave what an entity must have to an earlier one of its key, however far before.
TEST_F(ImportTest, ADryRunKnowsThatEntitiesOfEarlierBatchesHaveWhatTheyMust) {
  const auto with_required = [&](std::string workspace) -> Task<CatalogPtr> {
    const WorkspaceId id = co_await make_workspace(pool(), std::move(workspace));
    const json request = json::parse(R"({"name":"customer","attributes":[
        {"name":"email","type":"text","format":"email","unique":true},
        {"name":"name","type":"text","required":true},{"name":"note","type":"text"}]})");
    auto type = own_type_from_json(request);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    co_await create_own_type(transaction, id, std::move(*type));
    co_await transaction.commit();
    co_return co_await load_catalog(*lease, id);
  };
  std::string text;
  for (int n = 0; n < 5'000; ++n)
    text += fmt::format("{{\"email\":\"u{}@x.example\",\"name\":\"n\"}}\n", n);
  text += R"({"email":"U7@x.example","note":"later"})"
          "\n";
  text += R"({"email":"u8@x.example","name":null})"
          "\n";  // takes it away
  text += R"({"email":"nobody@x.example","note":"new"})"
          "\n";
  ImportOptions options;
  options.format = ImportFormat::ndjson;
  catalog_ = run(with_required("wet"));
  const auto wet = import(text, options);
  EXPECT_EQ(counts(wet), "5003: 5000+ 0~ 0= 3!");
  options.dry_run = true;
  catalog_ = run(with_required("dry"));
  const auto dry = import(text, options);
  EXPECT_EQ(counts(dry), counts(wet));
  EXPECT_EQ(rejects(dry), rejects(wet));
}

TEST_F(ImportTest, OnlyOwnTypesCanBeImportedInto) {
  Catalog catalog = *catalog_;
  catalog.types[0].own = false;
  const auto importer =
      Importer::make(pool(), std::make_shared<const Catalog>(catalog), "customer", ImportOptions());
  ASSERT_FALSE(importer);
  EXPECT_EQ(importer.error().code, "import.read_only");
  EXPECT_EQ(importer.error().kind, ErrorKind::denied) << "whoever asks is wrong, not the host";
}

}  // namespace
}  // namespace sluice::model
