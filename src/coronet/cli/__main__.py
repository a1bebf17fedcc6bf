from coronet.cli import main

main()
