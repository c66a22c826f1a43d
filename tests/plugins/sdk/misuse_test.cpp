// What authors get wrong and no compiler says: here it does not compile, or is refused before it is
// compiled, by file and line.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

namespace fs = std::filesystem;

struct Ran {
  int status = 0;
  std::string said;
};

Ran shell(const std::string& command) {
  Ran ran;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  char buffer[4096];
  for (std::size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;)
    ran.said.append(buffer, n);
  ran.status = pclose(pipe);
  return ran;
}

fs::path new_file(const std::string& name, const std::string& text) {
  const fs::path place = SLUICE_SDK_TEST_DIR "/misuse";
  fs::create_directories(place);
  std::ofstream(place / name) << text;
  return place / name;
}

/// One statement of an operation, compiled without being run.
Ran compiled(const std::string& statement) {
  const fs::path source = new_file("statement.cpp",
                                   "#include <sluice/sdk.hpp>\n"
                                   "using namespace sluice::sdk;\n"
                                   "class C final : public Connector {\n"
                                   "  Task<> check() override {\n    " +
                                       statement + "\n  }\n};\n");
  return shell(std::string(SLUICE_CXX) +
               " -std=c++20 -fsyntax-only -I" SLUICE_SOURCE_DIR
               "/plugin-api/include -I" SLUICE_SOURCE_DIR "/plugin-api/sdk/include " +
               source.string());
}

TEST(SdkMisuse, a_view_into_a_reply_without_a_name_does_not_compile) {
  const char* const bad[] = {
      "auto v = (co_await get(\"/a\")).json();",
      "auto v = (co_await get(\"/a\")).json_if_any();",
      "auto v = (co_await get(\"/a\")).body();",
      "auto v = (co_await get(\"/a\")).header(\"ETag\");",
  };
  for (const char* const statement : bad) {
    const Ran ran = compiled(statement);
    EXPECT_NE(ran.status, 0) << statement;
    EXPECT_NE(ran.said.find("deleted"), std::string::npos) << ran.said;
  }
  const Ran good = compiled(
      "Reply r = co_await get(\"/a\"); auto v = r.json(); auto b = r.body(); auto h = "
      "r.header(\"ETag\"); const int s = (co_await get(\"/b\")).status(); (void)s; (void)h; "
      "(void)b; (void)v;");
  EXPECT_EQ(good.status, 0) << good.said;
}

/// A set is collected over pages, and a page's texts go with its reply.
TEST(SdkMisuse, a_complete_set_of_texts_that_are_borrowed_does_not_compile) {
  const char* const bad[] = {
      "std::vector<std::string_view> ids; co_await complete_set(0, 0, \"p\", ids);",
      "std::span<const std::string_view> ids; co_await complete_set(0, 0, \"p\", ids);",
      "std::string_view ids[2]; co_await complete_set(0, 0, \"p\", ids);",
  };
  for (const char* const statement : bad) {
    const Ran ran = compiled(statement);
    EXPECT_NE(ran.status, 0) << statement;
    EXPECT_NE(ran.said.find("deleted"), std::string::npos) << ran.said;
  }
  const Ran good = compiled(
      "Ids ids; { Reply r = co_await get(\"/a\"); ids.add(r.json()[\"id\"].text()); } "
      "co_await complete_set(0, 0, \"p\", ids); const Ids none; "
      "co_await complete_set(0, 0, \"p\", none);");
  EXPECT_EQ(good.status, 0) << good.said;
}

struct Shape {
  const char* code;
  int line;  ///< of the file, that is named; 0: none
};

constexpr Shape kShapes[] = {
    {"co_await page({\"/user\", \"?b=1\", {}});", 2},
    {"co_await f(Options{.url = u, .n = 2});", 2},
    {"co_await f({});", 2},
    {"co_await f([x](int v) { use(x, v); });", 2},
    {"co_await [x]() -> Task<int> { co_return x; }();", 2},
    {"co_await f([&] { return 1; });", 2},
    {"co_await Obj{}.method(1);", 2},
    {"co_return co_await f(Options{.n = 1});", 2},
    {"g(co_await p(), Options{.n = 1});", 2},
    {"if (auto r = co_await f(Options{.n = 1}); !r) { stop(); }", 2},
    {"y();\nauto r = co_await f(\n    Options{\n .n = 1});", 3},
    {"co_await page(all ? std::string(\"/all\") : path);", 2},
    {"co_await page(\"/a?b=\" + (x ? y : z));", 2},
    {"try { co_await f({1}); } catch (...) {}", 2},
    {"Options options{.n = 1};\nco_await f(std::move(options));", 0},
    {"std::string path = all ? a : b;\nco_await page(path);", 0},
    {"co_await f(Params(a, b));", 0},
    {"co_await f([](int v) { return v; });", 0},
    {"auto [a, b] = co_await f();", 0},
    {"if (co_await f(x)) {\n  g({1});\n}", 0},
    {"for (auto& row : co_await f(x)) {\n  g(row);\n}", 0},
    {"if (x) { y(); } else { co_await f(x); }", 0},
    {"co_await f(values[i][j]);", 0},
    {"co_await f(\"a{b}?c\", '{', '?');", 0},
    {"// co_await f({1});\n/* co_await\n f({2}); */ co_await g(x);", 0},
    {"log(R\"(co_await f({1}))\");\nlog(R\"x(\nco_await f({1})\n)x\");", 0},
};

Ran looked_at(const fs::path& source) {
  return shell(std::string(SLUICE_CMAKE) + " -DSOURCES=" + source.string() +
               " -P " SLUICE_SOURCE_DIR "/plugin-api/cmake/SluiceCoroutineShapes.cmake");
}

TEST(SdkMisuse, coroutines_that_gcc_12_breaks_are_refused_by_file_and_line) {
  for (const Shape& shape : kShapes) {
    const fs::path source =
        new_file("shape.cpp", std::string("Task<> t() {\n") + shape.code + "\n}\n");
    const Ran ran = looked_at(source);
    EXPECT_EQ(ran.status != 0, shape.line != 0) << shape.code << "\n" << ran.said;
    const std::string named = source.string() + ":" + std::to_string(shape.line) + ":";
    if (shape.line == 0) continue;
    EXPECT_NE(ran.said.find(named), std::string::npos) << ran.said;
  }
}

TEST(SdkMisuse, what_a_source_includes_is_looked_at_and_every_place_is_named) {
  const fs::path inner = new_file("inner.hpp", "inline Task<> a() {\n  co_await f({1});\n}\n");
  const fs::path source =
      new_file("outer.cpp",
               "#include \"inner.hpp\"\nTask<> b() {\n  co_await f({1});\n  co_await f({2});\n}\n");
  const Ran ran = looked_at(source);
  EXPECT_NE(ran.status, 0);
  for (const std::string& place :
       {inner.string() + ":2:", source.string() + ":3:", source.string() + ":4:"})
    EXPECT_NE(ran.said.find(place), std::string::npos) << place << "\n" << ran.said;
}

/// As an author meets it: the build of his connector ends there.
TEST(SdkMisuse, a_connector_with_such_a_coroutine_is_not_built) {
  const fs::path place = SLUICE_SDK_TEST_DIR "/misuse_build";
  fs::remove_all(place);
  fs::create_directories(place);
  const std::string cmake = SLUICE_CMAKE;
  Ran ran = shell(cmake + " -S " SLUICE_SOURCE_DIR "/plugin-api -B " + (place / "api").string() +
                  " -DCMAKE_CXX_COMPILER=" SLUICE_CXX);
  ASSERT_EQ(ran.status, 0) << ran.said;
  ran = shell(cmake + " --install " + (place / "api").string() + " --prefix " +
              (place / "sdk").string());
  ASSERT_EQ(ran.status, 0) << "the SDK is whole without the rest of Sluice\n" << ran.said;
  const fs::path installed = place / "sdk/share/sluice/plugin-api";
  fs::copy(installed / "template", place / "acme", fs::copy_options::recursive);
  const auto replace = [&](const char* file, const std::string& what, const std::string& by) {
    std::string text;
    std::getline(std::ifstream(place / "acme" / file), text, '\0');
    ASSERT_NE(text.find(what), std::string::npos) << what;
    text.replace(text.find(what), what.size(), by);
    std::ofstream(place / "acme" / file) << text;
  };
  replace("CMakeLists.txt", "find_package(SluicePlugin", "find_package(SluicePlugin 1.1");
  const std::string good = "Reply reply = co_await get(\"/v1/me\");";
  const std::string bad = "Reply reply = co_await get({\"/v1/me\"});";
  replace("connector.cpp", good, bad);
  const std::string build = (place / "build").string();
  ran =
      shell(cmake + " -S " + (place / "acme").string() + " -B " + build +
            " -DCMAKE_CXX_COMPILER=" SLUICE_CXX " -DCMAKE_PREFIX_PATH=" + (place / "sdk").string());
  ASSERT_EQ(ran.status, 0) << ran.said;
  ran = shell(cmake + " --build " + build);
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
  EXPECT_NE(ran.status, 0);
  EXPECT_NE(ran.said.find("acme/connector.cpp:"), std::string::npos) << ran.said;
  EXPECT_NE(ran.said.find("builds a braced value"), std::string::npos) << ran.said;
#endif
  replace("connector.cpp", bad, good);
  ran = shell(cmake + " --build " + build);
  EXPECT_EQ(ran.status, 0) << ran.said;
  EXPECT_TRUE(fs::exists(place / "build/connectors/acme.so"));
  ran = shell(cmake + " -S " + (installed / "examples").string() + " -B " +
              (place / "examples").string() + " -DCMAKE_PREFIX_PATH=" + (place / "sdk").string() +
              " && " + cmake + " --build " + (place / "examples").string());
  EXPECT_EQ(ran.status, 0) << ran.said;
  EXPECT_TRUE(fs::exists(place / "examples/toyc.so"));
}

}  // namespace
