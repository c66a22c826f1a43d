// Files as people have them (tests/fixtures/csv): each into its type, whole and in small pieces.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "base/exact_json.hpp"
#include "model/import.hpp"
#include "model/own_types.hpp"
#include "pg/model/manifests.hpp"
#include "support/pg_fixture.hpp"

namespace sluice::model {
namespace {

using nlohmann::json;
using sluice::testing::make_workspace;

std::string content_of(const std::string& name) {
  std::ifstream stream(std::string(SLUICE_CSV_FIXTURES "/") + name, std::ios::binary);
  EXPECT_TRUE(stream.good()) << name;
  return {std::istreambuf_iterator<char>(stream), {}};
}

class ImportCasesTest : public sluice::testing::PgTest {
 protected:
  Task<CatalogPtr> workspace(std::string name, json request) {
    const WorkspaceId id = co_await make_workspace(pool(), std::move(name));
    auto type = own_type_from_json(request);
    auto lease = co_await pool().acquire();
    auto transaction = co_await pg::Transaction::begin(*lease);
    expect(co_await create_own_type(transaction, id, std::move(expect(std::move(type)))));
    co_await transaction.commit();
    co_return co_await load_catalog(*lease, id);
  }
  Task<ImportResult> import(CatalogPtr catalog, std::string type, std::string content,
                            std::size_t piece, ImportOptions options) {
    auto importer = expect(Importer::make(pool(), catalog, type, std::move(options)));
    for (std::size_t at = 0; at < content.size(); at += piece)
      co_await importer.feed(std::string_view(content).substr(at, piece));
    co_return co_await importer.finish();
  }
  json stored(const Catalog& catalog) {
    const auto rows = run(pool().query(
        fmt::format("select coalesce(jsonb_agg(data order by id), '[]') from sluice.own_entity"
                    " where workspace_id = {}",
                    catalog.workspace.value)));
    return stored_json(rows.text(0, 0));
  }
  static ImportOptions options_of(const json& one) {
    ImportOptions options;
    if (one["file"].get<std::string>().ends_with(".ndjson")) options.format = ImportFormat::ndjson;
    const json wish = one.value("options", json::object());
    if (wish.contains("dates"))
      options.form.dates = wish["dates"] == "dmy" ? DateOrder::day_first : DateOrder::month_first;
    if (wish.contains("decimal"))
      options.form.decimal = wish["decimal"] == "comma" ? DecimalMark::comma : DecimalMark::point;
    const json map = wish.value("map", json::object());
    for (const auto& [column, attribute] : map.items())
      options.form.map[column] = attribute.get<std::string>();
    return options;
  }
  void check(const json& one, const ImportResult& result) {
    const auto& lines = result.lines;
    EXPECT_EQ(fmt::format("{}+{}+{}+{}={}", lines.header, lines.rows, lines.refused, lines.blank,
                          lines.total),
              one["lines"].get<std::string>());
    EXPECT_EQ(result.empty_rows, one.value("empty_rows", 0));
    EXPECT_EQ(result.repeated, one.value("repeated", 0));
    const json told = to_json(result);
    const json refused = one.value("refused", json::array());
    EXPECT_EQ(told["rejects"].size(), refused.size()) << told["rejects"].dump(1);
    std::set<std::int64_t> lines_refused;
    for (std::size_t i = 0; i < refused.size() && i < told["rejects"].size(); ++i) {
      const json& is = told["rejects"][i];
      for (const char* member : {"line", "attribute", "code", "reason"})
        EXPECT_EQ(is[member], refused[i][member]) << is.dump();
      lines_refused.insert(refused[i]["line"].get<std::int64_t>());
    }
    EXPECT_EQ(result.rejected, static_cast<std::int64_t>(lines_refused.size()));
    EXPECT_EQ(result.inserted, static_cast<std::int64_t>(one["stored"].size()));
    EXPECT_EQ(result.rows, result.inserted + result.repeated + result.rejected);
    const json understood = one.value("understood", json::object());
    for (const auto& [member, value] : understood.items())
      EXPECT_EQ(told["understood"].value(member, json()), value) << told["understood"].dump(1);
  }
};

TEST_F(ImportCasesTest, EveryFileIsOneOfTheCases) {
  std::set<std::string> cases = {"README.md", "manifest.json"};
  std::set<std::string> files;
  const json manifest = json::parse(content_of("manifest.json"));
  for (const json& one : manifest["cases"]) cases.insert(one["file"].get<std::string>());
  for (const auto& file : std::filesystem::directory_iterator(SLUICE_CSV_FIXTURES))
    files.insert(file.path().filename().string());
  EXPECT_EQ(files, cases);
}

TEST_F(ImportCasesTest, FilesAsPeopleHaveThemGoInAndWhatIsRefusedSaysWhy) {
  const json manifest = json::parse(content_of("manifest.json"));
  int n = 0;
  for (const json& one : manifest["cases"]) {
    for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{5}}) {
      const auto file = one["file"].get<std::string>();
      const auto type = one["type"].get<std::string>();
      SCOPED_TRACE(fmt::format("{} in pieces of {}", one.dump(), piece));
      json request = manifest["types"][type];
      request["name"] = type;
      const CatalogPtr catalog = run(workspace(fmt::format("case{}", ++n), request));
      const std::string content = content_of(file);
      if (one.contains("file_refused")) {
        try {
          run(import(catalog, type, content, piece, options_of(one)));
          ADD_FAILURE() << "it was taken";
        } catch (const Failure& failure) {
          const Error& error = failure.error();
          EXPECT_EQ(error.code, one["file_refused"]["code"].get<std::string>());
          EXPECT_EQ(error.message, one["file_refused"]["reason"].get<std::string>());
          EXPECT_EQ(error.hint, one["file_refused"]["hint"].get<std::string>());
        }
        EXPECT_EQ(stored(*catalog), json::array());
        continue;
      }
      ImportOptions dry = options_of(one);
      dry.dry_run = true;
      json foreseen = to_json(run(import(catalog, type, content, piece, dry)));
      EXPECT_EQ(stored(*catalog), json::array()) << "a dry run stores nothing";
      const ImportResult result = run(import(catalog, type, content, piece, options_of(one)));
      check(one, result);
      EXPECT_TRUE(same_json(stored(*catalog), one["stored"])) << stored(*catalog).dump(1);
      foreseen["dry_run"] = false;
      EXPECT_EQ(foreseen, to_json(result)) << "a dry run tells what will be";
      const ImportResult again = run(import(catalog, type, content, piece, options_of(one)));
      EXPECT_EQ(again.inserted, 0);
    }
  }
}

}  // namespace
}  // namespace sluice::model
