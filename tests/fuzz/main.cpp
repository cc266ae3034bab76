// What libFuzzer calls. With FUZZ_SEEDS=FOLDER in the environment a harness writes its seeds there and ends;
// tests/fuzz/run then starts it again upon them. So no corpus is committed: it is what the code of the day makes.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fuzz/support.hpp"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* const folder = std::getenv("FUZZ_SEEDS");
  if (folder == nullptr) return 0;
  int number = 0;
  for (const auto& seed : foreweave::fuzz::seeds()) {
    char name[32];
    std::snprintf(name, sizeof name, "seed-%04d", number++);
    std::ofstream file(std::filesystem::path(folder) / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(seed.data()), static_cast<std::streamsize>(seed.size()));
    if (!file.flush()) std::exit(1);
  }
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  foreweave::fuzz::run({data, size});
  return 0;
}
