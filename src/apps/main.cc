// lorry: finds the command and hands over.
#include "apps/dispatch.h"

int main(int argc, char** argv) { return lorry::apps::Dispatch({argv + 1, argv + argc}); }
