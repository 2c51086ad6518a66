// The program `wring`.
#include "client/cli/context.h"
#include "common/subprocess.h"

int main(int argc, char** argv) {
  wring::limit_spinning_of_children();
  return wring::run_cli({argv + 1, argv + argc});
}
